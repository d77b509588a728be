#include <fmt/format.h>

#include "store/model_name.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/goldens.h"

namespace tutti::store {
namespace {

namespace fs = std::filesystem;

std::string digest_of(std::size_t length, char digit) {
  std::string text = "sha256:";
  text.append(length, digit);
  return text;
}

const std::string kDigest = digest_of(64, 'a');

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

std::string manifest_with(const std::string& digest) {
  return R"({"schemaVersion":2,"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":")" +
         digest + R"(","size":4}]})";
}

TEST(ModelName, ReadsEveryForm) {
  const auto name = parse_model_name("hub.example:5000/me/mine:q4");
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name->host, "hub.example:5000");
  EXPECT_EQ(name->name_space, "me");
  EXPECT_EQ(name->model, "mine");
  EXPECT_EQ(name->tag, "q4");
  EXPECT_EQ(name->display(), "hub.example:5000/me/mine:q4");
  EXPECT_EQ(parse_model_name("llama3.2")->display(), "llama3.2:latest");
  EXPECT_EQ(parse_model_name("registry.ollama.ai/library/llama3.2:1b")->display(), "llama3.2:1b");
  EXPECT_EQ(parse_model_name("me/mine")->display(), "me/mine:latest");
}

TEST(ModelName, RefusesWhatCouldLeaveTheStore) {
  for (const char* text : {"..", "../x", "a/../b", "a/b/../../c", "x:..", "x:", "", "/", "a//b",
                           "a b", "x:../../y", "a/b/c/d", ".hidden", "-flag", "a\\b"}) {
    EXPECT_FALSE(parse_model_name(text).ok()) << text;
  }
  EXPECT_FALSE(parse_model_name(std::string(81, 'a')).ok());
}

TEST(BlobPath, TakesExactlySixtyFourLowerCaseHexDigits) {
  EXPECT_EQ(blob_path("/r", kDigest)->string(),
            fmt::format("/r/blobs/sha256-{}", kDigest.substr(7)));
  const std::vector<std::string> refused = {digest_of(63, 'a'),
                                            digest_of(65, 'a'),
                                            digest_of(64, 'A'),
                                            fmt::format("sha256-{}", kDigest.substr(7)),
                                            fmt::format("sha256:../../{}", kDigest.substr(13)),
                                            "../../etc/passwd",
                                            ""};
  for (const std::string& digest : refused) EXPECT_FALSE(blob_path("/r", digest).ok()) << digest;
}

class Store : public ::testing::Test {
 protected:
  fs::path root_ = testing::make_temp_dir() / "models";
  fs::path manifests_ = root_ / "manifests/registry.ollama.ai/library";
  fs::path blob_ = root_ / "blobs" / fmt::format("sha256-{}", kDigest.substr(7));
};

TEST_F(Store, FindsTheLayersOfAManifest) {
  write(blob_, "GGUF");
  const std::string other = digest_of(64, 'b');
  write(root_ / "blobs" / fmt::format("sha256-{}", other.substr(7)), "{{ .Prompt }}");
  write(manifests_ / "m/latest",
        R"({"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":")" + kDigest +
            R"("},{"mediaType":"application/vnd.ollama.image.template","digest":")" + other +
            R"("}]})");
  const auto location = resolve_model("m", root_);
  ASSERT_TRUE(location.ok()) << location.status().message();
  EXPECT_EQ(location->name, "m:latest");
  EXPECT_EQ(location->path, fs::canonical(blob_));
  EXPECT_EQ(*location->digest, kDigest.substr(7));
  EXPECT_EQ(location->go_template, "{{ .Prompt }}");
}

TEST_F(Store, RefusesDigestsThatArePaths) {
  write(blob_, "GGUF");
  const std::vector<std::string> refused = {"sha256:../../etc/x", "../../etc/x", digest_of(63, 'a'),
                                            digest_of(65, 'a')};
  for (const std::string& digest : refused) {
    write(manifests_ / "m/latest", manifest_with(digest));
    EXPECT_FALSE(resolve_model("m", root_).ok()) << digest;
  }
}

TEST_F(Store, RefusesALinkOutOfTheStore) {
  const fs::path outside = root_.parent_path() / "outside.gguf";
  write(outside, "GGUF");
  fs::create_directories(blob_.parent_path());
  fs::create_symlink(outside, blob_);
  write(manifests_ / "m/latest", manifest_with(kDigest));
  const auto location = resolve_model("m", root_);
  ASSERT_FALSE(location.ok());
  EXPECT_EQ(location.status().kind(), ErrorKind::kCorrupt);
}

TEST_F(Store, NamesWhatIsWrongWithAManifest) {
  for (const char* text :
       {"{", "[]", "{}", R"({"layers":[3]})", R"({"layers":[]})",
        R"({"layers":[{"mediaType":"application/vnd.ollama.image.adapter"}]})"}) {
    write(manifests_ / "m/latest", text);
    const auto location = resolve_model("m", root_);
    ASSERT_FALSE(location.ok()) << text;
    EXPECT_NE(location.status().message().find("latest"), std::string::npos) << text;
  }
  EXPECT_EQ(resolve_model("absent", root_).status().kind(), ErrorKind::kNotFound);
}

TEST(ResolveModel, TakesPathsAndTheDemoModel) {
  const fs::path folder = testing::make_temp_dir() / "My Model (v1)";
  write(folder / "a.gguf", "GGUF");
  const auto location = resolve_model(folder.string(), "/nowhere");
  ASSERT_TRUE(location.ok());
  EXPECT_EQ(location->name, "My-Model--v1-:latest");
  EXPECT_EQ(location->path, folder / "a.gguf");
  write(folder / "b.gguf", "GGUF");
  EXPECT_FALSE(resolve_model(folder.string(), "/nowhere").ok());

  for (const char* typed : {"", "demo", "demo:latest"}) {
    const auto demo = resolve_model(typed, "/nowhere");
    ASSERT_TRUE(demo.ok());
    EXPECT_EQ(demo->name, "demo:latest");
    EXPECT_TRUE(fs::exists(demo->path / "config.json"));
  }
}

}  // namespace
}  // namespace tutti::store
