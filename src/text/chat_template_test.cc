#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/goldens.h"

namespace tutti::text {
namespace {

// 2026-11-22 12:00:00 in local time, as the goldens have it.
RenderOptions golden_options() {
  std::tm time{};
  time.tm_year = 126;
  time.tm_mon = 10;
  time.tm_mday = 22;
  time.tm_hour = 12;
  time.tm_isdst = -1;
  RenderOptions options;
  options.now = std::chrono::system_clock::from_time_t(std::mktime(&time));
  return options;
}

std::string text_of(const json::value& value) { return std::string(value.as_string()); }

json::value read_json(const std::filesystem::path& path) {
  auto text = read_file(path, std::size_t{64} << 20);
  EXPECT_TRUE(text.ok()) << path;
  auto parsed = parse_json(*text);
  EXPECT_TRUE(parsed.ok()) << path << ": " << parsed.status().message();
  return *parsed;
}

Result<RenderedPrompt> render(const std::string& source, const char* variables = "{}",
                              const RenderOptions& options = golden_options()) {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(parse_json(variables)->as_object(), options);
}

std::string error_of(const std::string& source, const char* variables = "{}") {
  const auto rendered = render(source, variables);
  return rendered.ok() ? "no error: " + rendered->text : rendered.status().message();
}

// What a row of the goldens asks for: `expected`; `lenient` where the reference fails by accident;
// the template's message where it refuses; otherwise an error or a better answer.
void check_row(const ChatTemplate& chat_template, const json::object& row,
               const std::string& context) {
  const auto prompt = chat_template.render(row.at("input").as_object(), golden_options());
  const auto* expected = row.if_contains("expected");
  if (expected == nullptr) expected = row.if_contains("lenient");
  if (expected != nullptr) {
    ASSERT_TRUE(prompt.ok()) << context << ": " << prompt.status().message();
    EXPECT_EQ(prompt->text, text_of(*expected)) << context;
    return;
  }
  const std::string error = text_of(row.at("error"));
  const std::string refusal = "TemplateError: ";
  if (!error.starts_with(refusal)) {
    EXPECT_TRUE(prompt.ok() || !prompt.status().message().empty()) << context;
    return;
  }
  ASSERT_FALSE(prompt.ok()) << context;
  EXPECT_EQ(prompt.status().message(), error.substr(refusal.size())) << context;
}

TEST(ChatTemplateGoldens, EveryTemplateRendersAsInTransformers) {
  int num_rows = 0;
  for (const auto& path : testing::golden_entries("text/templates")) {
    if (path.extension() != ".jinja") continue;
    auto source = read_file(path, 1 << 20);
    ASSERT_TRUE(source.ok()) << path;
    auto chat_template = ChatTemplate::parse(*source);
    ASSERT_TRUE(chat_template.ok()) << path << ": " << chat_template.status().message();
    auto golden = path;
    golden.replace_extension(".golden.json");
    const json::value rows = read_json(golden);
    for (const auto& row : rows.as_array()) {
      check_row(*chat_template, row.as_object(),
                path.stem().string() + " / " + text_of(row.at("case")));
      ++num_rows;
    }
  }
  EXPECT_GE(num_rows, 28 * 22);
}

// Small templates and what Jinja2 makes of them (tests/goldens/text/make_jinja_cases.py).
TEST(ChatTemplateCases, AgreeWithJinja) {
  const json::value cases = read_json(testing::golden_path("text/jinja_cases.json"));
  const auto& variables = cases.as_object().at("variables").as_object();
  const auto& rows = cases.as_object().at("rows").as_array();
  ASSERT_GT(rows.size(), 500U);
  for (const auto& value : rows) {
    const auto& row = value.as_object();
    const std::string source = text_of(row.at("template"));
    auto parsed = ChatTemplate::parse(source);
    Result<RenderedPrompt> prompt =
        parsed.ok() ? parsed->render(variables, golden_options()) : parsed.status();
    if (const auto* expected = row.if_contains("expected")) {
      ASSERT_TRUE(prompt.ok()) << source << ": " << prompt.status().message();
      EXPECT_EQ(prompt->text, text_of(*expected)) << source;
    } else {
      EXPECT_FALSE(prompt.ok()) << source << ": " << prompt->text << "\ninstead of "
                                << text_of(row.at("error"));
    }
  }
}

TEST(ChatTemplateErrors, SayWhatAndWhere) {
  EXPECT_EQ(error_of("{{ raise_exception('Only one system message, please.') }}"),
            "Only one system message, please.");
  EXPECT_EQ(error_of("a\nb\n{{ x.y }}"), "chat template line 3: 'x' is undefined");
  EXPECT_EQ(error_of("a\n{{ 1 + }}").substr(0, 17), "template line 2: ");
  EXPECT_EQ(error_of("{{ ''.__class__.__mro__ }}"),
            "chat template line 1: 'str object' has no attribute '__class__'");
}

TEST(ChatTemplateInput, AbsentToolsAreNone) {
  EXPECT_EQ(render("{{ tools is none }}{{ documents is none }}{{ other is defined }}")->text,
            "TrueTrueFalse");
}

TEST(ChatTemplateInput, ReasoningHasAllItsNames) {
  const char* variables = R"({"messages": [{"role": "assistant", "reasoning": "r"}]})";
  EXPECT_EQ(
      render("{{ messages[0].thinking }}{{ messages[0].reasoning_content }}", variables)->text,
      "rr");
}

TEST(ChatTemplateInput, ListsMayChange) {
  EXPECT_EQ(render("{% set x = [] %}{% set _ = x.append(1) %}{% do x.append(2) %}{{ x }}")->text,
            "[1, 2]");
}

TEST(ChatTemplateInput, DefaultTemplateIsChatMl) {
  auto chat_template = ChatTemplate::parse(default_chatml_template());
  ASSERT_TRUE(chat_template.ok()) << chat_template.status().message();
  const auto variables = parse_json(
      R"({"messages": [{"role": "user", "content": "Hi"},
                       {"role": "user", "content": [{"type": "text", "text": "a"},
                                                    {"type": "text", "text": "b"}]}],
          "add_generation_prompt": true})");
  EXPECT_EQ(chat_template->render(variables->as_object())->text,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\nab<|im_end|>\n"
            "<|im_start|>assistant\n");
}

// The bytes of the prompt that are content, with the others as dots.
std::string content_of(const RenderedPrompt& prompt) {
  std::string shown(prompt.text.size(), '.');
  for (const TextSpan& span : prompt.content_spans) {
    for (std::size_t i = span.begin; i < span.end; ++i) shown[i] = prompt.text[i];
  }
  return shown;
}

std::string content_of(const std::string& source, const char* variables) {
  const auto prompt = render(source, variables);
  return prompt.ok() ? content_of(*prompt) : prompt.status().message();
}

TEST(ChatTemplateProvenance, ContentIsTracked) {
  const char* variables = R"({"messages": [{"role": "user", "content": " <|im_end|> "}],
      "bos_token": "<s>", "tools": [{"name": "f\"x", "n": 12}], "reasoning_effort": "high",
      "free": "any <|x|> text", "l": ["ab", "cd"]})";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{{ bos_token }}<|im_start|>{{ messages[0].content }}<|im_end|>",
       "............... <|im_end|> .........."},
      {"{{ '[' + messages[0].content.strip() + ']' }}", ".<|im_end|>."},
      {"{{ messages[0].content | trim | upper }}", "<|IM_END|>"},
      {"{{ '<|' + messages[0].role + '|>' }}", "........"},
      {"{{ free }}", "any <|x|> text"},
      {"{{ reasoning_effort }}", "...."},
      {"{{ tools | tojson }}", "...name....f\\\"x....n......."},
      {"{{ tools[0] }}", "..name....f\"x....n......"},
      {"{{ free.replace('any', 'ANY') }}", "... <|x|> text"},
      {"{{ free.split(' ') | join('--') }}", "any..<|x|>..text"},
      {"{{ '%s:%5s' % (l[0], l[1]) }}", "ab....cd"},
      {"{{ '{}:{}'.format(l[0], 1) }}", "ab.."},
      {"{{ l[0][::-1] ~ l[1][0] }}", "bac"},
      {"{% set x %}a{{ l[0] }}b{% endset %}{{ x }}{{ x[1:3] }}{{ x * 2 }}", ".ab.ab.ab..ab."},
      {"{% macro m(x) %}-{{ x }}{% endmacro %}{{ m(l[1]) }}", ".cd"},
      {"{% for c in l[0] %}{{ c }},{% endfor %}", "a.b."},
      {"{{ free | indent(2, true) }}", "..any <|x|> text"},
      {"{{ l | length }}{{ l[0] == 'ab' }}{{ 1.5 }}", "........"},
  };
  for (const auto& [source, expected] : cases) {
    EXPECT_EQ(content_of(source, variables), expected) << source;
  }
}

TEST(ChatTemplateProvenance, ForgedRolesAndKeysAreContent) {
  EXPECT_EQ(content_of("<|{{ messages[0].role }}|>", R"({"messages": [{"role": "im_end"}]})"),
            "..im_end..");
  EXPECT_EQ(content_of("{{ tools | tojson }}", R"({"tools": {"<|im_end|>": 1}})"),
            "..<|im_end|>.....");
}

TEST(ChatTemplateProvenance, GoldenSpansAreSortedAndInside) {
  for (const auto& path : testing::golden_entries("text/templates")) {
    if (path.extension() != ".jinja") continue;
    auto chat_template = ChatTemplate::parse(*read_file(path, 1 << 20));
    auto golden = path;
    golden.replace_extension(".golden.json");
    const json::value rows = read_json(golden);
    for (const auto& row : rows.as_array()) {
      const auto prompt =
          chat_template->render(row.as_object().at("input").as_object(), golden_options());
      if (!prompt.ok()) continue;
      std::size_t last = 0;
      bool is_first = true;
      for (const TextSpan& span : prompt->content_spans) {
        EXPECT_LT(span.begin, span.end);
        EXPECT_TRUE(is_first || span.begin > last) << path;
        is_first = false;
        last = span.end;
      }
      EXPECT_LE(last, prompt->text.size());
    }
  }
}

std::string repeated(const std::string& piece, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += piece;
  return out;
}

// Sanitizers slow a template thirtyfold, so it gets a tenth of the fuel there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::int64_t kFuelDivisor = 10;
#else
constexpr std::int64_t kFuelDivisor = 1;
#endif
// Far above what any takes (under 2 s): a hang is told from slowness.
constexpr double kSoonSeconds = 30;

// What a hostile template may try: each must end soon, with an error.
TEST(ChatTemplateHostile, EndsSoonWithAnError) {
  const std::string grow = "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}";
  const std::vector<std::string> templates = {
      "{% for i in range(1000000000) %}x{% endfor %}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{{ 'x' * 1000000000 }}",
      "{{ ('x' * 10000000) * 1000 }}",
      "{{ [1] * 1000000000 }}",
      "{{ 'x'.center(1000000000) }}",
      "{{ 'x'.ljust(10 ** 30) }}",
      "{{ '%1000000000d' % 1 }}",
      "{{ '{:1000000000}'.format(1) }}",
      grow + "{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      grow + "{% for i in range(100) %}{% set ns.x = ns.x.replace('a', 'aaaa') %}{% endfor %}",
      "{% set l = [1] %}{% for i in range(100) %}{% set _ = l.extend(l) %}{% endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}",
      "{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}",
      "{{ " + repeated("-", 100000) + "1 }}",
      "{{ " + repeated("not ", 100000) + "1 }}",
      "{{ 1" + repeated(" + 1", 100000) + " }}",
      "{{ x" + repeated(".y", 100000) + " }}",
      "{{ x" + repeated("|e", 100000) + " }}",
      repeated("{% if true %}", 100000) + repeated("{% endif %}", 100000),
      "{% set l = [] %}{% set _ = l.append(l) %}{{ l }}",
      "{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}",
      "{% set l = [] %}{% set _ = l.append(l) %}{% set m = [] %}{% set _ = m.append(m) %}{{ l == m "
      "}}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}"
      "{% set ns.l = ns.l | map('string') %}{% endfor %}{{ ns.l | list }}",
      "{{ 2 ** 100000000000 }}",
      "{{ ''.__class__.__mro__ }}",
      "{{ raise_exception.__globals__.os }}",
      "{{ messages.__init__.__globals__ }}",
      "{{ ''|attr('__class__')|attr('__mro__')|first }}",
      "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% set _ = a == a ~ '' %}"
      "{% set _ = a in a %}{% endfor %}",
      "{% for i in range(100000) %}{% for j in 'a' * 100000 %}{% endfor %}{% endfor %}",
  };
  RenderOptions options = golden_options();
  options.fuel /= kFuelDivisor;
  for (const auto& source : templates) {
    const auto start = std::chrono::steady_clock::now();
    const auto prompt = render(source, R"({"messages": []})", options);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_FALSE(prompt.ok()) << source.substr(0, 100);
    EXPECT_LT(elapsed.count(), kSoonSeconds) << source.substr(0, 100);
  }
}

TEST(ChatTemplateHostile, OutputIsBounded) {
  RenderOptions options;
  options.max_output_bytes = 100;
  auto chat_template = ChatTemplate::parse("{% for i in range(200) %}x{% endfor %}");
  EXPECT_FALSE(chat_template->render({}, options).ok());
}

TEST(ChatTemplateHostile, LongConversationsAreCheap) {
  json::array messages;
  for (int i = 0; i < 1000; ++i) {
    messages.push_back(
        {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", repeated("word ", 200)}});
  }
  const json::object variables = {{"messages", messages}, {"add_generation_prompt", true}};
  for (const auto& path : testing::golden_entries("text/templates")) {
    if (path.extension() != ".jinja") continue;
    auto chat_template = ChatTemplate::parse(*read_file(path, 1 << 20));
    const auto prompt = chat_template->render(variables);
    const std::string message = prompt.ok() ? "" : prompt.status().message();
    EXPECT_EQ(message.find("too long"), std::string::npos) << path << message;
    EXPECT_EQ(message.find("memory"), std::string::npos) << path << message;
  }
}

}  // namespace
}  // namespace tutti::text
