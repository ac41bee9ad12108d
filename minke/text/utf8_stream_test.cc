#include "minke/text/utf8_stream.h"

#include <gtest/gtest.h>

#include "minke/text/utf8.h"

namespace minke {
namespace {

TEST(Utf8Stream, HoldsBackWhatIsNotYetACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80!"), "😀!");
  EXPECT_EQ(stream.Push("\xE4"), "");
  EXPECT_EQ(stream.Push("x"), "\uFFFDx");  // proved broken by what follows
  EXPECT_EQ(stream.Push("\xE4\xB8"), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
}

// Right sides as Python's bytes.decode("utf-8", "replace").
TEST(Utf8Stream, ReplacesAsOthersDo) {
  const std::pair<std::string_view, std::string_view> cases[] = {{"\xF0\x9F\x91", "\uFFFD"},
                                                                 {"\xA0\xAE", "\uFFFD\uFFFD"},
                                                                 {"\xC0\x80", "\uFFFD\uFFFD"},
                                                                 {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
                                                                 {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                                                                 {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
                                                                 {"\xF0\x9F\x91\xF0\x9F\x91\x8D", "\uFFFD👍"},
                                                                 {"\xE4\xB8\xE4\xB8\xAD", "\uFFFD中"},
                                                                 {"\xFF", "\uFFFD"},
                                                                 {"a\xCC", "a\uFFFD"}};
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(LossyUtf8(bytes), text);
    Utf8Stream stream;
    std::string streamed;
    for (char byte : bytes) streamed += stream.Push({&byte, 1});
    EXPECT_EQ(streamed + stream.Finish(), text);
  }
}

TEST(Utf8, EveryCodePointRoundTrips) {
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes;
    AppendUtf8(bytes, c);
    const Utf8Char back = DecodeUtf8(bytes);
    ASSERT_TRUE(back.valid && back.code_point == c && back.size == bytes.size()) << c;
  }
}

}  // namespace
}  // namespace minke
