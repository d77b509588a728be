#include "server/cards.h"

#include <gtest/gtest.h>

#include "tests/support/fake_engine.h"

namespace tutti::server {
namespace {

TEST(OllamaDetails, TheModelfileHasAllThatMakesTheModel) {
  const testing::TestModel test = testing::make_test_model();
  store::ModelInfo& info = test.model->info;
  info.name = "m:latest";
  info.chat_template = "{{ .Prompt }}";
  info.system = "Be brief.";
  info.license = "MIT";
  info.parameters =
      "temperature                    0.5\n"
      "stop                           \"a b\"\n";
  EXPECT_EQ(ollama_details(*test.model).modelfile,
            "FROM m:latest\n"
            "TEMPLATE \"\"\"{{ .Prompt }}\"\"\"\n"
            "SYSTEM \"\"\"Be brief.\"\"\"\n"
            "PARAMETER temperature 0.5\n"
            "PARAMETER stop \"a b\"\n"
            "LICENSE \"\"\"MIT\"\"\"\n");
}

}  // namespace
}  // namespace tutti::server
