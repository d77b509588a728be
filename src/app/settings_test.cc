#include "app/settings.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/goldens.h"

namespace tutti::app {
namespace {

TEST(ParseOllamaHost, ReadsWhatOllamaReads) {
  const struct {
    const char* value;
    const char* host;
    int port;
  } cases[] = {
      {"", "127.0.0.1", 11434},
      {"0.0.0.0", "0.0.0.0", 11434},
      {"0.0.0.0:8080", "0.0.0.0", 8080},
      {":8080", "127.0.0.1", 8080},
      {"example.com:99999", "example.com", 11434},
      {"example.com:x", "example.com", 11434},
      {"http://1.2.3.4", "1.2.3.4", 80},
      {"https://1.2.3.4", "1.2.3.4", 443},
      {"http://1.2.3.4:5/path", "1.2.3.4", 5},
      {"[::1]", "::1", 11434},
      {"[::1]:1337", "::1", 1337},
      {"::1", "::1", 11434},
      {"[::1", "::1", 11434},
  };
  for (const auto& c : cases) {
    const HostAndPort parsed = parse_ollama_host(c.value);
    EXPECT_EQ(parsed.host, c.host) << c.value;
    EXPECT_EQ(parsed.port, c.port) << c.value;
  }
}

TEST(ParseByteSize, UnitsAndErrors) {
  EXPECT_EQ(*parse_byte_size("1000000"), 1000000u);
  EXPECT_EQ(*parse_byte_size("4GiB"), std::uint64_t{4} << 30);
  EXPECT_EQ(*parse_byte_size("1.5 GB"), 1500000000u);
  EXPECT_EQ(*parse_byte_size("64k"), 65536u);
  for (const char* bad : {"", "x", "-1", "1e30", "nan", "inf", "4GiBs", "4 4", "GiB"}) {
    EXPECT_FALSE(parse_byte_size(bad).ok()) << bad;
  }
}

TEST(SettingsFile, FlattensTablesAndNamesMistakes) {
  const auto path = testing::make_temp_dir() / "config.toml";
  std::ofstream(path) << "threads = 2\n[serve]\nport = 8000\nallowed_hosts = [\"a\", \"b\"]\n";
  auto settings = read_settings_file(path);
  ASSERT_TRUE(settings.ok()) << settings.status().message();
  EXPECT_EQ(settings->at("threads"), std::vector<std::string>{"2"});
  EXPECT_EQ(settings->at("serve.port"), std::vector<std::string>{"8000"});
  EXPECT_EQ(settings->at("serve.allowed-hosts"), (std::vector<std::string>{"a", "b"}));

  std::ofstream(path) << "[serve]\nport = = 1\n";
  EXPECT_NE(read_settings_file(path).status().message().find("config.toml:2"), std::string::npos);
  std::ofstream(path) << "[serve.deep]\nport = 1\n";
  EXPECT_NE(read_settings_file(path).status().message().find("serve.deep"), std::string::npos);
}

TEST(EnvironmentValue, TrimsSpacesAndQuotes) {
  ::setenv("TUTTI_TEST_VALUE", " \"0.0.0.0\" ", 1);
  EXPECT_EQ(environment_value("TUTTI_TEST_VALUE"), "0.0.0.0");
  ::setenv("TUTTI_TEST_VALUE", "  ", 1);
  EXPECT_FALSE(environment_value("TUTTI_TEST_VALUE"));
}

}  // namespace
}  // namespace tutti::app
