// The field tables of docs/openai.md and docs/ollama.md are those of the parsers. They stand
// between "<!-- fields: NAME -->" and "<!-- end -->"; with TUTTI_UPDATE_DOCS=1 in the environment
// the test writes them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "dialects/ollama_fields.h"
#include "dialects/ollama_messages.h"
#include "dialects/openai_fields.h"
#include "dialects/openai_messages.h"

namespace tutti::dialects {
namespace {

struct Section {
  std::string name;
  std::vector<FieldDoc> fields;
};

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// Puts the parsers' tables into the sections of `text`.
std::string with_tables(std::string text, const std::vector<Section>& sections) {
  for (const Section& section : sections) {
    const std::string marker = "<!-- fields: " + section.name + " -->\n";
    const std::size_t marker_at = text.find(marker);
    if (marker_at == std::string::npos) {
      ADD_FAILURE() << "no section: " << marker;
      continue;
    }
    const std::size_t begin = marker_at + marker.size();
    const std::size_t end = text.find("<!-- end -->", begin);
    if (end == std::string::npos) {
      ADD_FAILURE() << "no end: " << marker;
      continue;
    }
    text.replace(begin, end - begin, render_field_table(section.fields));
  }
  return text;
}

void check_document(const std::string& name, const std::vector<Section>& sections) {
  const std::string path = std::string(TUTTI_DOCS_DIR) + "/" + name;
  const std::string text = read_text(path);
  const std::string expected = with_tables(text, sections);
  if (std::getenv("TUTTI_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << expected;
    return;
  }
  EXPECT_TRUE(text == expected) << path << " differs from the parsers; run this test with "
                                << "TUTTI_UPDATE_DOCS=1 to write its tables anew";
}

TEST(Docs, OpenAiTablesAreTheParsers) {
  check_document("openai.md", {{"chat completions", docs_of(openai::chat_completion_fields())},
                               {"stream_options", docs_of(openai::stream_options_fields())},
                               {"messages", openai::message_field_docs()},
                               {"completions", docs_of(openai::completion_fields())}});
}

TEST(Docs, OllamaTablesAreTheParsers) {
  check_document("ollama.md", {{"chat", docs_of(ollama::chat_fields())},
                               {"messages", ollama::message_field_docs()},
                               {"generate", docs_of(ollama::generate_fields())},
                               {"options", docs_of(ollama::option_fields())}});
}

}  // namespace
}  // namespace tutti::dialects
