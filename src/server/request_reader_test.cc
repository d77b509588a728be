#include "server/request_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <optional>

namespace tutti::server {
namespace {

HttpLimits small_limits() {
  HttpLimits limits;
  limits.max_header_bytes = 4096;
  limits.max_header_fields = 20;
  limits.max_body_bytes = 10'000;
  limits.max_body_chunks = 100;
  return limits;
}

void feed(RequestReader& reader, std::string_view bytes) {
  const auto room = reader.prepare(bytes.size());
  std::memcpy(room.data(), bytes.data(), bytes.size());
  reader.commit(bytes.size());
}

ReadProgress run(RequestReader& reader) {
  ReadProgress progress = reader.advance();
  while (progress == ReadProgress::kHeaderDone) progress = reader.advance();
  return progress;
}

// The status that bytes are refused with; 0 when they are a request; -1 when more is awaited.
int status_of(std::string_view bytes, std::size_t piece = 1 << 20) {
  RequestReader reader(small_limits());
  ReadProgress progress = ReadProgress::kNeedsMore;
  for (std::size_t i = 0; i < bytes.size() && progress == ReadProgress::kNeedsMore; i += piece) {
    feed(reader, bytes.substr(i, piece));
    progress = run(reader);
  }
  if (progress == ReadProgress::kFailed) return reader.error().status;
  return progress == ReadProgress::kComplete ? 0 : -1;
}

const std::string kPost = "POST /v1/x HTTP/1.1\r\nHost: localhost\r\n";

TEST(RequestReader, ReadsARequestHoweverItIsCut) {
  const std::string bytes =
      "\r\nPOST /a%20b?c=d HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://o\r\n"
      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
  for (std::size_t piece : {1u, 2u, 3u, 7u, 1000u}) {
    RequestReader reader(small_limits());
    ReadProgress progress = ReadProgress::kNeedsMore;
    for (std::size_t i = 0; i < bytes.size(); i += piece) {
      feed(reader, std::string_view(bytes).substr(i, piece));
      progress = run(reader);
    }
    ASSERT_EQ(progress, ReadProgress::kComplete) << piece;
    const HttpRequest request = reader.take_request();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/a b");
    EXPECT_EQ(request.host, "localhost:1");
    EXPECT_EQ(request.origin, "http://o");
    EXPECT_EQ(request.body, "abcdefg");
    EXPECT_TRUE(request.keep_alive);
  }
}

TEST(RequestReader, KeepsPipelinedRequestsApart) {
  RequestReader reader(small_limits());
  feed(reader, kPost + "Content-Length: 2\r\n\r\nhiGET /second HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(run(reader), ReadProgress::kComplete);
  EXPECT_EQ(reader.take_request().body, "hi");
  EXPECT_TRUE(reader.has_begun());
  ASSERT_EQ(run(reader), ReadProgress::kComplete);
  EXPECT_EQ(reader.take_request().path, "/second");
  EXPECT_FALSE(reader.has_begun());
}

TEST(RequestReader, LosesNothingWhenItShrinks) {
  RequestReader reader(small_limits());
  for (int round = 0; round < 2; ++round) {
    reader.shrink();
    feed(reader, "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHo");
    ASSERT_EQ(run(reader), ReadProgress::kComplete);
    EXPECT_EQ(reader.take_request().path, "/first");
    reader.shrink();
    feed(reader, "st: a\r\n\r\n");
    ASSERT_EQ(run(reader), ReadProgress::kComplete);
    EXPECT_EQ(reader.take_request().path, "/second");
  }
}

TEST(RequestReader, TellsOfExpectations) {
  RequestReader reader(small_limits());
  feed(reader, kPost + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_EQ(reader.advance(), ReadProgress::kHeaderDone);
  EXPECT_TRUE(reader.expects_continue());
  feed(reader, "ok");
  ASSERT_EQ(run(reader), ReadProgress::kComplete);
  EXPECT_EQ(reader.take_request().body, "ok");
  EXPECT_EQ(status_of(kPost + "Content-Length: 2\r\nExpect: magic\r\n\r\nhi"), 417);
}

TEST(RequestReader, RefusesAmbiguousLengths) {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  EXPECT_EQ(status_of(kPost + "Content-Length: 5\r\n" + chunked + "\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + chunked + "Content-Length: 5\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: +1\r\n\r\na"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 1e3\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 18446744073709551617\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: gzip\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + chunked + chunked + "\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nHost: a\r\n" + chunked + "\r\n0\r\n\r\n"), 400);
}

TEST(RequestReader, RefusesEncodedBodiesByName) {
  RequestReader reader(small_limits());
  feed(reader, kPost + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b");
  ASSERT_EQ(run(reader), ReadProgress::kFailed);
  EXPECT_EQ(reader.error().status, 400);
  EXPECT_NE(reader.error().message.find("Content-Encoding \"gzip\""), std::string::npos);
  const std::string identity = "Content-Encoding: Identity\r\n";
  EXPECT_EQ(status_of(kPost + identity + "Content-Length: 2\r\n\r\nhi"), 0);
  EXPECT_EQ(status_of(kPost + identity + "Content-Encoding: br\r\nContent-Length: 0\r\n\r\n"), 400);
}

TEST(RequestReader, RefusesBrokenFraming) {
  for (const char* bytes :
       {"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01z\r\n\r\n"}) {
    EXPECT_EQ(status_of(bytes), 400) << bytes;
  }
  for (const char* chunk :
       {"x\r\n", "-1\r\nab", "10000000000000000\r\n", "3\r\nabcd\r\n0\r\n\r\n"}) {
    EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\n\r\n" + chunk), 400) << chunk;
  }
}

TEST(RequestReader, HoldsItsCaps) {
  EXPECT_EQ(status_of(kPost + "X: " + std::string(5000, 'a'), 100), 431);
  EXPECT_EQ(status_of("GET /" + std::string(5000, 'a'), 100), 431);
  std::string fields;
  for (int i = 0; i < 21; ++i) fields += "a: b\r\n";
  EXPECT_EQ(status_of(kPost + fields + "\r\n"), 431);
  EXPECT_EQ(status_of(kPost + "Content-Length: 10001\r\n\r\n"), 413);
  EXPECT_EQ(status_of(kPost + "Content-Length: 10000\r\n\r\n" + std::string(10000, 'a')), 0);
  const std::string chunked = kPost + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(status_of(chunked + "2711\r\n" + std::string(10001, 'a')), 413);
  std::string tiny;
  for (int i = 0; i < 100; ++i) tiny += "1\r\na\r\n";
  EXPECT_EQ(status_of(chunked + tiny + "0\r\n\r\n"), 413);  // the last chunk counts too
  EXPECT_EQ(status_of(chunked + tiny.substr(6) + "0\r\n\r\n"), 0);
  EXPECT_EQ(status_of(chunked + "1;" + std::string(40000, 'x'), 1000), 413);
  EXPECT_EQ(status_of(chunked + "0\r\nx: " + std::string(40000, 'x'), 1000), 413);
}

TEST(DecodeTarget, ReadsPathsOnly) {
  std::string path;
  EXPECT_TRUE(decode_target("http://host:1/v1/models/a%2Fb?x#y", path));
  EXPECT_EQ(path, "/v1/models/a/b");
  EXPECT_TRUE(decode_target("http://host", path));
  EXPECT_EQ(path, "/");
  for (const char* target : {"", "x", "/%", "/%4", "/%zz", "/%00"}) {
    EXPECT_FALSE(decode_target(target, path)) << target;
  }
}

}  // namespace
}  // namespace tutti::server
