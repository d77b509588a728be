"""Writes jinja_cases.json: small templates and what Jinja2 3.1.6 makes of them in the environment
of transformers' chat templates. Usage: python make_jinja_cases.py > jinja_cases.json
Needs jinja2 and transformers."""
import json

from transformers.utils.chat_template_utils import _compile_jinja_template

DATA = {
    "n": 7, "f": 2.5, "s": "Hello World", "u": "h\u00e9llo \u4f60\u597d \U0001f600", "t": True, "e": "",
    "l": [3, 1, 2], "d": {"b": 1, "a": [1, {"x": None}], "c": "y"}, "nothing": None,
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " yo "},
                 {"role": "user", "content": "bye\n"}],
    "people": [{"name": "Bob", "age": 30, "tag": {"k": 2}}, {"name": "alice", "age": 25, "tag": {"k": 1}},
               {"name": "Carl", "age": 30}],
    "text": "one two\nthree\n\nfour", "big": 12345678901234567890, "tiny": 1e-7, "html": "<b>&'\"</b>",
}

EXPRESSIONS = r"""
1 + 2 * 3
-2 ** 2
2 ** -1
2 ** 100
7 // 2
-7 // 2
7 % 3
-7 % 3
7 / 2
6 / 2
7.5 // 2
-7.5 % 2
1e16
1e15
123456789.125
0.1 + 0.2
1e-5
1e-4
1_000
0x1f
0b101
0o17
1.5e3
big + 1
big
tiny
f * 2
'a' ~ 1 ~ none ~ true ~ 1.0
'a' + 'b' 'c'
'ab' * 3
[1, 2] + [3]
[0] * 3
(1, 2) + (3,)
(1,)
()
[1, 'a', none, true, 1.0, "it's", 'say "x"', 'both \' and "']
{'a': 1, 2: [3], none: true}
d
u
[u]
'\x41\u00e9\n\t\\ \q'
['\n\t\r\x00\x7f\u200b\xa0']
1 < 2 < 3
1 < 2 > 5
1 == 1.0 == true
'a' < 'b'
[1, 2] < [1, 3]
none == none
1 in l
'ell' in s
'x' not in s
'a' in d
not true
not e
t and n
e or 'default'
none or 0
1 if true else 2
1 if false
(1 if false) is defined
'yes' if n > 5 and f < 3 else 'no'
missing is defined
missing
missing is undefined
missing | default('x')
e | default('x')
e | default('x', true)
e | d('x', boolean=true)
missing == missing
missing in [1]
d.b
d['b']
d.missing is defined
d.missing
d.a[1].x
d.a[-1]['x'] is none
l[0]
l[-1]
l[5] is defined
l.1
s[0]
s[-1]
s[1:3]
s[::-1]
s[::2]
s[-3:]
s[:-3]
s[5:2]
u[6:8]
u[-1]
u[::-1]
l[1:]
l[::-1]
l[:2]
l[-2:]
l[10:]
(1, 2, 3)[1:]
range(5)
range(5) | list
range(2, 10, 3) | list
range(5, 0, -2) | list
range(3)[1]
range(10)[2:4] | list
s.upper()
s.lower()
s.title()
"they're bill's".title()
s.swapcase()
'hello world'.capitalize()
'HELLO'.capitalize()
'  x '.strip() ~ '|'
'xxhixx'.strip('x')
'xxhixx'.lstrip('x')
'xxhixx'.rstrip('x')
'\u2003a\u2003'.strip()
s.split()
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
'a,b'.split(',', maxsplit=1)
text.splitlines()
text.splitlines(true)
'a\r\nb'.splitlines()
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
s.replace('l', 'L')
s.replace('l', 'L', 1)
'abc'.replace('', '-')
s.startswith('Hello')
s.startswith(('x', 'H'))
s.endswith('World')
s.startswith('World', 6)
s.find('o')
s.find('o', 5)
s.rfind('o')
s.find('zz')
u.find('\u4f60')
s.index('W')
s.count('l')
'aaa'.count('aa')
'-'.join(['a', 'b'])
'abc'.join('xyz')
'a'.center(5, '*') ~ 'ab'.center(5, '*')
'a'.ljust(3, '.') ~ 'a'.rjust(3, '.')
'-42'.zfill(5)
'a\tb'.expandtabs(4)
'abc'.removeprefix('a') ~ 'abc'.removesuffix('c')
'abc'.isalpha() ~ 'a1'.isalnum() ~ '12'.isdigit() ~ ' '.isspace() ~ ''.isalpha()
'ABC'.isupper() ~ 'abc'.islower() ~ 'Ab'.isupper() ~ 'Ab Cd'.istitle()
'{} and {}'.format(1, 'x')
'{1} {0} {a}'.format(1, 2, a=3)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:05d} {:+d} {:x} {:X} {:#x} {:b} {:,}'.format(42, 42, 255, 255, 255, 5, 1234567)
'{:.2f} {:e} {:g} {:.1%} {:8.3f}'.format(3.14159, 12345.678, 0.0001, 0.256, 2.5)
'{!r} {!s}'.format('a', 'b')
'{0[a]} {0[b]}'.format({'a': 1, 'b': 2})
'{{}}'.format()
'%s %d %5.2f %x %%' % ('a', 3, 2.5, 255)
'%r' % 'a'
'%-5s|%5s' % ('a', 'b')
'%05d' % 42
'%(a)s' % {'a': 1}
'%s' % n
'%s' | format('x')
'%s-%s' | format(1, 2)
'%.3s' % 'abcdef'
d.items() | list
d.keys() | list
d.values() | list
d.items()
d.get('b')
d.get('zz')
d.get('zz', 5)
d | length
s | length
u | length
l | count
missing | length
d | items | list
d | dictsort
{'B': 1, 'a': 2} | dictsort
{'B': 1, 'a': 2} | dictsort(true)
{'x': 2, 'y': 1} | dictsort(by='value')
{'x': 2, 'y': 1} | dictsort(reverse=true)
l | sort
l | sort(reverse=true)
['b', 'A', 'c'] | sort
['b', 'A', 'c'] | sort(case_sensitive=true)
people | sort(attribute='name') | map(attribute='name') | list
people | sort(attribute='age,name') | map(attribute='name') | list
people | sort(attribute='age', reverse=true) | map(attribute='name') | list
people | map(attribute='tag.k', default=0) | list
people | map(attribute='name') | map('upper') | join(', ')
people | selectattr('age', 'equalto', 30) | map(attribute='name') | list
people | selectattr('tag') | list | length
people | selectattr('tag', 'defined') | list | length
people | rejectattr('age', '>', 26) | map(attribute='name') | list
people | selectattr('name', 'in', ['Bob', 'Carl']) | list | length
people | groupby('age')
people | map('length') | list
(people | groupby('age'))[0].grouper
(people | groupby('age'))[0].list | length
people | sum(attribute='age')
[1, 2, 3] | sum
[1, 2] | sum(start=10)
[1, 2, 3, 4] | select('odd') | list
[1, 2, 3, 4] | reject('even') | list
[0, 1, '', 'a', none] | select | list
[1, 2, 3] | select('greaterthan', 1) | list
l | min
l | max
['b', 'A'] | min
people | max(attribute='age')
[] | max is defined
[1, 1, 2, 'a', 'A'] | unique | list
l | first
l | last
[] | first is defined
'abc' | first ~ ('abc' | last)
l | reverse | list
'abc' | reverse
l | join
l | join('-')
[1, none, true, 'a'] | join(',')
people | join(',', attribute='name')
'abc' | list
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 0) | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
s | upper
s | lower
'foo bar-baz (qux)' | title
'fOO bar' | capitalize
'  a ' | trim ~ '|'
'xax' | trim('x')
s | replace('o', '0')
s | replace('o', '0', 1)
'a' | center(5) ~ '|'
text | indent
text | indent(2, true)
text | indent(2, true, true)
text | indent('> ')
text | indent(first=true)
text | wordcount
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11, false, '...', 0)
'hello brave new world' | wordwrap(10)
html | e
html | escape | upper
html | safe
'<i>' | safe + html
html | striptags
'a b/c?d=\u00e9' | urlencode
{'a': 'b c', 'd': 1} | urlencode
{'a': 'b<', 'c': none} | xmlattr
1000000 | filesizeformat
1 | filesizeformat ~ (500 | filesizeformat) ~ (2048 | filesizeformat(true))
'42' | int + 1
'42.7' | int
'x' | int
'x' | int(5)
'ff' | int(base=16)
'0x1f' | int(base=16)
3.9 | int
-3.9 | int
true | int
'1.5' | float
'x' | float
7 | float
2.5 | round
3.5 | round
2.675 | round(2)
42.55 | round(1, 'floor')
42.55 | round(1, 'ceil')
42 | round
1234 | round(-2)
-3 | abs
-2.5 | abs
5 | string + 'x'
d | string
d | tojson
d | tojson(indent=2)
d | tojson(separators=(',', ':'))
d | tojson(sort_keys=true)
d | tojson(indent=4, sort_keys=true)
[] | tojson ~ ({} | tojson) ~ ([[]] | tojson(indent=1))
u | tojson
u | tojson(ensure_ascii=true)
html | tojson
'\n\t"\\/\x01\x7f' | tojson
[1.0, 1e20, 1e-7, true, none, big] | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
(1, 2) | tojson
l | pprint
'x' is string ~ (1 is string)
1 is number ~ (1.0 is number) ~ (true is number) ~ ('1' is number)
1 is integer ~ (true is integer) ~ (1.0 is integer)
1.0 is float
true is boolean ~ (1 is boolean)
true is true ~ (1 is true) ~ (false is false)
d is mapping ~ (l is mapping)
l is sequence ~ (d is sequence) ~ (s is sequence) ~ (1 is sequence)
l is iterable ~ (1 is iterable) ~ (range(2) is iterable) ~ (s is iterable)
none is none ~ (missing is none)
3 is odd ~ (3 is even) ~ (9 is divisibleby 3) ~ (9 is divisibleby(2))
1 is eq 1 ~ (1 is ne 2) ~ (1 is lt 2) ~ (2 is gt 1) ~ (2 is ge 2) ~ (2 is le 1)
'a' is in ['a', 'b']
1 is sameas 1 ~ (l is sameas l)
range is callable ~ (s is callable)
'abc' is lower ~ ('ABC' is upper) ~ ('Abc' is lower)
'upper' is filter ~ ('nope' is filter) ~ ('odd' is test)
not 1 is string
1 is not string
-1 | abs
'a' ~ 'b' | upper
1 + 2 | string ~ 'x'
(1, 2) == (1, 2)
{'a': 1} == {'a': 1.0}
[1, [2, 3]] == [1, [2, 3]]
dict(a=1, b=2)
dict([['x', 1]])
namespace(a=1).a
namespace(a=1).b is defined
d.copy() == d
l.index(2)
l.count(1)
l.copy()
''.__class__
''.__class__ is defined
(1).__class__
{}.__init__ is defined
messages[0].role
messages | length
messages[-1]['content'] | trim
messages[1:] | map(attribute='role') | list
messages | selectattr('role', 'equalto', 'user') | list | length
messages | map(attribute='content') | map('trim') | join('|')
(messages | first).content
loop is defined
d.items is defined
true ~ false ~ none ~ True ~ None
1.0 | string
100.0 | int
3 * 'ab'
[1, 2, 3][1:][0]
'a' if missing else 'b'
missing ~ 'x'
[missing] | length
(missing or 'x')
s | attr('upper') is defined
1e400
-1e400
10 ** 20
5 % -3
-5 // -2
0.5 | round
1.5 | round
1e22
123456789012345680.0
1.0 == 1
'%s' % [1, 2]
'%s' % none
'%d' % 3.7
'a,b;c'.split(';')[0].split(',')
'é'.upper()
'ß'.upper()
'ÀÉ'.lower()
'İ'.lower() | length
"a'b" | tojson
strftime_now('%Y') | length
'\U0001F600' | length
"x" in "" ~ ("" in "x")
l | tojson | length
['a','b'] | map('replace', 'a', 'z') | list
[{'a': 1}] | map(attribute='a') | first
(l | select('gt', 1)) is iterable
{'a': {'b': {'c': 1}}}.a.b.c
[[1, 2], [3, 4]] | map('first') | list
[[1, 2], [3, 4]] | map('sum') | list
[[1, 2], [3, 4]] | sum(start=[])
'abc'[1]
'abc'[-4] is defined
d['a'][0]
{'x': 1}.items() | first
(d.items() | list)[0][0]
l | sort | first
'a\\b'
'line\
continued'
'A' < 'a'
[3, 'a'] | map('string') | sort | join
messages | map(attribute='role') | unique | join(',')
messages | map(attribute='role') | reverse | list | first
""".strip("\n").split("\n")

TEMPLATES = [
    "{% for x in l %}{{ x }}{% endfor %}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend\n",
    "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1,1,2,2] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in [[1,[2,[3]]],[4]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'héy' %}[{{ c }}]{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set x = 0 %}{% for i in l %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}",
    "{% for i in [1,2] %}{% if loop.first %}{% set y = 1 %}{% endif %}[{{ y }}]{% endfor %}",
    "{% if false %}{% set z = 1 %}{% endif %}[{{ z }}]",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}hi {{ n }}{% endset %}[{{ x }}]",
    "{% set x | upper | replace('I', 'J') %}hi{% endset %}{{ x }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='y') }} {{ m(b=5, a=4) }} {{ m() }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}",
    "{% macro m(x) %}[{{ caller(x) }}]{% endmacro %}{% call(v) m(5) %}v={{ v }}{% endcall %}",
    "{% macro m() %}{% if caller %}C{{ caller() }}{% else %}N{% endif %}{% endmacro %}{{ m() }}{% call m() %}body{% endcall %}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}",
    "{% macro m() %}{% set q = 1 %}{% endmacro %}{{ m() }}[{{ q }}]",
    "{% macro m() %}  x  {% endmacro %}{{ m() | trim }}{{ m.name }}{{ m.arguments }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}[{{ a }}]",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}[{{ a }}]",
    "{% raw %}{{ x }} {% if %}{% endraw %}",
    "a{# comment #}b",
    "a\n{# c #}\nb",
    "  {% if true %}\n  x\n  {% endif %}\ny",
    "  {%+ if true %}\n  x\n  {%+ endif +%}\ny",
    "a  {%- if true -%}  b  {%- endif -%}  c",
    "a {{- ' b ' -}} c",
    "x\n\n{%- if true %}\n\ny{% endif %}",
    "{{ 'a' }}\n{{ 'b' }}\n",
    "a\r\nb\rc\n\n",
    "   {{ 1 }}\n   {# x #}\n  z",
    "{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if n == 1 %}a{% elif n == 2 %}b{% else %}c{% endif %}",
    "{% generation %}x{% set q = 1 %}{% endgeneration %}[{{ q }}]",
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}",
    "{% for m in messages %}{%- if loop.first and m.role != 'system' %}S{% endif %}{{ m.content | trim }}{% endfor %}",
    "{% set loop_messages = messages[1:] %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}x{% else %}y{% endif %}{% endfor %}",
    "{% set it = messages | selectattr('role', 'equalto', 'user') %}{% for m in it %}{{ m.content }}{% endfor %}[{% for m in it %}{{ m.content }}{% endfor %}]",
    "{% if messages | selectattr('role', 'equalto', 'zzz') %}truthy{% endif %}",
    "{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% print 1, 'a' %}",
    "{% block b %}x{% endblock %}",
    "{% block b scoped %}x{% endblock b %}",
    "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{{ raise_exception('no: ' ~ n) }}",
    "{{ missing.x }}", "{{ missing() }}", "{{ missing + 1 }}", "{{ 1 + 'a' }}", "{{ 'a' + 1 }}", "{{ 1 / 0 }}",
    "{{ n() }}", "{{ n | nope }}", "{% for x in 5 %}{% endfor %}", "{{ [] | first + 'x' }}", "{{ '' < 1 }}",
    "{{ {}['x'].y }}", "{% set x.y = 1 %}", "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1,)] %}{% endfor %}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "{{ 'abc'.index('z') }}",
    "{% include 'x' %}", "{{ 1 | tojson(2, 3, 4, 5, 6) }}", "{{ missing | tojson }}", "{{ range(1000000) }}",
    "{{ ''.join([1]) }}", "{{ 'a'.split('') }}", "{{ 'x' is nope }}", "{{ '%d' % 'x' }}", "{{ '%s %s' % 1 }}",
    "{% if %}{% endif %}", "{{ ( }}", "{% endif %}", "{% nope %}", "{{ 'abc }}", "{% for x in l %}", "{{ a b }}", "{{ }}",
    "{{ not }}", "{{ 1 + }}", "{% raw %}x", "{# x", "{{ {'a': } }}", "{% macro %}{% endmacro %}", "{{ [1, 2 }}", "{{ f(a=1, 2) }}",
    "{% set ns = namespace() %}{% set ns.a = [] %}{% set ns.a = ns.a + ['x'] %}{{ ns.a }}",
    "{%- set ns = namespace(found=false) -%}\n{%- for m in messages -%}\n{%- if m.role == 'assistant' -%}\n{%- set ns.found = true -%}\n{%- endif -%}\n{%- endfor -%}\n{{ ns.found }}",
    "{%- macro render(v, depth=0) -%}{%- if v is mapping -%}{ {%- for k, w in v | dictsort -%}{{ k }}: {{ render(w, depth + 1) }}{{ ', ' if not loop.last }}{%- endfor -%} }{%- elif v is string -%}{{ v | tojson }}{%- elif v is iterable -%}[{%- for w in v -%}{{ render(w, depth + 1) }}{{ ',' if not loop.last }}{%- endfor -%}]{%- else -%}{{ v }}{%- endif -%}{%- endmacro -%}{{ render(d) }}",
    "{% for m in messages | reverse %}{{ m.role }}{% endfor %}",
    "{% for m in messages[::-1] %}{{ loop.index }}{{ m.role[0] }}{% endfor %}",
    "{% set content = '<think>a</think>b' %}{{ content.split('</think>')[0].split('<think>')[-1] }}|{{ content.split('</think>')[-1].lstrip('\\n') }}",
    "{% set x = messages[-1].content.rstrip('\\n').lstrip('\\n') %}[{{ x }}]",
    "{% if messages[0]['role'] == 'system' %}a{% else %}{% set system_message = '' %}{% endif %}[{{ system_message }}]",
    "{{ messages[0]['content'] if messages[0]['role'] == 'user' else '' }}",
    "{%- for tool in people %}\n{{- '- ' ~ tool.name }}\n{%- endfor %}",
    "{% set args = {'a': 1, 'b': 'x'} %}{% for k, v in args.items() %}{{ k }}={{ v | tojson if v is not string else v }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{{ i }}{{ j }} {% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ y }}{% endfor %}{% endfor %}",
    "{{ caller is defined }}", "{% set x = x | default(3) %}{{ x }}", "{% set n = n + 1 %}{{ n }}",
    "{% if n is defined and n %}1{% endif %}{% if not (missing is defined) %}2{% endif %}",
    "{{ 'a' if n is odd else 'b' }}", "{{ messages | length > 2 and messages[1].role == 'assistant' }}",
    "{{- 'x' -}}   ", "{%- if true -%} a {%- endif -%}\n b", "a {%- raw -%} b {%- endraw -%} c", "{% raw -%}\n x{%- endraw %}",
    "{{ people | map(attribute='tag') | list | length }}", "{{ (people | map(attribute='tag') | list)[2] is defined }}",
]


def render(source):
    try:
        return {"expected": _compile_jinja_template(source).render(**DATA)}
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}


sources = ["{{ " + e + " }}" for e in EXPRESSIONS] + TEMPLATES
rows = [{"template": source, **render(source)} for source in sources]
print(json.dumps({"variables": DATA, "rows": rows}, ensure_ascii=False, indent=0))
