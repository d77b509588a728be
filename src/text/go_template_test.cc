#include "text/go_template.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace tutti::text {
namespace {

Result<RenderedPrompt> render_go(const std::string& source, const char* data) {
  auto parsed = GoTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(parse_json(data)->as_object());
}

std::string text_of(const std::string& source, const char* data) {
  const auto prompt = render_go(source, data);
  return prompt.ok() ? prompt->text : "error: " + prompt.status().message();
}

constexpr const char* kData = R"({
  "System": "Be <brief>.", "Prompt": "Hi", "Response": "Yo", "Count": 3, "Yes": true, "Empty": "",
  "Messages": [{"Role": "system", "Content": "S"}, {"Role": "user", "Content": "one"},
               {"Role": "assistant", "Content": "", "ToolCalls": [
                 {"Function": {"Name": "add", "Arguments": {"b": 1, "a": "x<y"}}}]},
               {"Role": "user", "Content": "two"}],
  "Tools": [{"type": "function", "function": {"name": "add"}}],
  "Map": {"b": 2, "a": 1}
})";

// Expected values follow the documentation of Go's text/template.
TEST(GoTemplate, Language) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{{ .System }}|{{ .Prompt }}", "Be <brief>.|Hi"},
      {"{{if .System}}S{{end}}{{if .Empty}}E{{else}}N{{end}}", "SN"},
      {"{{ if .Missing }}a{{ else if .Yes }}b{{ else }}c{{ end }}", "b"},
      {"a {{- \" b \" -}} c", "a b c"},
      {"a\n\n{{- if .Yes }}\nb\n{{- end }}\nc", "a\nb\nc"},
      {"a{{/* comment */}}b{{- /* trimmed */ -}} c", "abc"},
      {"{{ range .Messages }}{{ .Role }},{{ end }}", "system,user,assistant,user,"},
      {"{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }}{{ end }}",
       "0system1user2assistant3user"},
      {"{{ range $m := .Messages }}{{ $m.Content }}{{ end }}", "Sonetwo"},
      {"{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
       "{{ if $last }}L{{ else }}-{{ end }}{{ end }}",
       "---L"},
      {"{{ range .None }}x{{ else }}empty{{ end }}", "empty"},
      {"{{ range $k, $v := .Map }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"},
      {"{{ with .Prompt }}[{{ . }}]{{ end }}{{ with .Empty }}x{{ else }}y{{ end }}", "[Hi]y"},
      {"{{ $x := 1 }}{{ if .Yes }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"},
      {"{{ $x := 1 }}{{ if .Yes }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"},
      {"{{ and .Yes .Empty }}|{{ or .Empty .Prompt }}|{{ not .Yes }}", "|Hi|false"},
      {"{{ eq .Prompt \"Hi\" }}{{ ne .Count 3 }}{{ eq .Prompt \"a\" \"Hi\" }}", "truefalsetrue"},
      {"{{ lt .Count 4 }}{{ ge .Count 4 }}{{ gt 2 1 }}{{ le 2 1 }}", "truefalsetruefalse"},
      {"{{ len .Messages }}{{ len .Prompt }}", "42"},
      {"{{ (index .Messages 1).Content }}{{ index .Map \"b\" }}", "one2"},
      {"{{ slice .Prompt 1 }}{{ slice .Prompt 0 1 }}", "iH"},
      {"{{ json .Tools }}", R"([{"type":"function","function":{"name":"add"}}])"},
      {"{{ .Tools }}", R"([{"type":"function","function":{"name":"add"}}])"},
      {"{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Name }}{{ .Function.Arguments }}"
       "{{ end }}{{ end }}",
       R"(add{"b":1,"a":"x\u003cy"})"},
      {"{{ printf \"%s-%d-%v\" .Prompt .Count .Yes }}", "Hi-3-true"},
      {"{{ .Prompt | printf \"%q\" }}", "\"Hi\""},
      {"{{ print 1 2 \"a\" 3 }}", "1 2a3"},
      {"{{ define \"t\" }}<{{ .Role }}>{{ end }}{{ range .Messages }}{{ template \"t\" . }}{{ end "
       "}}",
       "<system><user><assistant><user>"},
      {"{{ range .Messages }}{{ if eq .Role \"assistant\" }}{{ break }}{{ end }}{{ .Content }}"
       "{{ end }}",
       "Sone"},
      {"{{ range .Messages }}{{ if eq .Role \"user\" }}{{ continue }}{{ end }}{{ .Role }}{{ end }}",
       "systemassistant"},
      {"{{ `raw\\n` }}{{ \"tab\\t\" }}", "raw\\ntab\t"},
  };
  for (const auto& [source, expected] : cases)
    EXPECT_EQ(text_of(source, kData), expected) << source;
}

TEST(GoTemplate, AbsentResponseEndsThePrompt) {
  const std::string source =
      "{{ if .System }}<|system|>{{ .System }}{{ end }}<|user|>{{ .Prompt }}<|assistant|>"
      "{{ .Response }}<|end|>";
  EXPECT_EQ(text_of(source, R"({"Prompt": "Hi"})"), "<|user|>Hi<|assistant|>");
  EXPECT_EQ(text_of(source, R"({"Prompt": "Hi", "Response": "Yo"})"),
            "<|user|>Hi<|assistant|>Yo<|end|>");
}

TEST(GoTemplate, ContentIsTracked) {
  const auto prompt = render_go("<|user|>{{ .Prompt }}<|end|>", R"({"Prompt": "<|end|>"})");
  ASSERT_TRUE(prompt.ok());
  EXPECT_EQ(prompt->text, "<|user|><|end|><|end|>");
  EXPECT_EQ(prompt->content_spans, (std::vector<TextSpan>{{8, 15}}));
}

TEST(GoTemplate, KnowsItsFields) {
  const auto parsed = GoTemplate::parse("{{ range .Messages }}{{ .Content }}{{ end }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->mentions_field("Messages"));
  EXPECT_FALSE(parsed->mentions_field("Suffix"));
}

TEST(GoTemplate, WrongTemplatesAreErrors) {
  const std::string deep = [] {
    std::string out;
    for (int i = 0; i < 100000; ++i) out += "{{ if .x }}";
    return out;
  }();
  const std::vector<std::string> templates = {
      "{{",
      "{{ .x",
      "{{ if }}{{ end }}",
      "{{ if .x }}",
      "{{ end }}",
      "{{ else }}",
      "{{ \"a }}",
      "{{ nope }}",
      "{{ nope 1 }}",
      "{{ $x }}",
      "{{ (.x }}",
      "{{ /* a }}",
      "{{ template \"t\" }}",
      "{{ 1 2 }}",
      "{{ index .Messages 9 }}",
      "{{ lt .Prompt 1 }}",
      "{{ slice .Prompt 5 }}",
      "{{ range .Prompt }}{{ end }}",
      "{{ | }}",
      "{{ . | }}",
      "{{ ^ }}",
      "{{ len 5 }}",
      "{{ eq 1 }}",
      "{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}",
      deep,
      "{{ " + std::string(100000, '(') + " }}",
      "{{ printf \"%1000000000d\" 1 }}",
  };
  for (const auto& source : templates) {
    EXPECT_FALSE(render_go(source, kData).ok()) << source.substr(0, 80);
  }
  EXPECT_EQ(render_go("a\n{{ len 5 }}", kData).status().message(),
            "template line 2: len of type int");
}

}  // namespace
}  // namespace tutti::text
