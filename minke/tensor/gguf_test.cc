#include "minke/tensor/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "minke/base/thread_pool.h"
#include "minke/tensor/block.h"
#include "minke/tensor/encode.h"
#include "minke/tensor/verify.h"

namespace minke {
namespace {

// Bytes of a GGUF file, piece by piece.
class Bytes {
 public:
  template <class T>
  Bytes& Put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& Text(std::string_view text) {
    Put(uint64_t{text.size()});
    text_ += text;
    return *this;
  }
  template <class T>
  Bytes& Value(std::string_view key, GgufType type, T value) {
    Text(key).Put(type);
    return Put(value);
  }
  Bytes& String(std::string_view key, std::string_view value) {
    Text(key).Put(GgufType::kString);
    return Text(value);
  }
  Bytes& Tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    Text(name).Put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(dim);
    return Put(type).Put(offset);
  }
  Bytes& Data(size_t bytes, size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment);
    text_.append(bytes, '\1');
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

Bytes Start(uint64_t tensors, uint64_t values, uint32_t version = 3) {
  Bytes bytes;
  bytes.Put(uint32_t{0x46554747}).Put(version).Put(tensors).Put(values);
  return bytes;
}

Result<GgufContents> Parse(const std::string& text) { return ParseGguf(std::as_bytes(std::span(text)), "model.gguf"); }

void ExpectRefused(const Bytes& bytes, Code code, std::string_view words) {
  const auto result = Parse(bytes.text());
  ASSERT_FALSE(result.has_value()) << words;
  EXPECT_EQ(result.error().code, code) << result.error().message;
  EXPECT_NE(result.error().message.find(words), std::string::npos) << result.error().message;
  EXPECT_TRUE(result.error().message.starts_with("model.gguf: "));
}

Bytes Small() {
  Bytes bytes = Start(2, 7);
  bytes.String("general.architecture", "deepseek2");
  bytes.Value("n", GgufType::kU32, uint32_t{7});
  bytes.Value("below", GgufType::kI16, int16_t{-3});
  bytes.Value("eps", GgufType::kF32, 1e-6f);
  bytes.Value("yes", GgufType::kBool, uint8_t{1});
  bytes.Text("words").Put(GgufType::kArray).Put(GgufType::kString).Put(uint64_t{3}).Text("a").Text("").Text("ccc");
  bytes.Text("ids").Put(GgufType::kArray).Put(GgufType::kI32).Put(uint64_t{2}).Put(int32_t{5}).Put(int32_t{-6});
  bytes.Tensor("blocks", {64, 3}, 8, 0).Tensor("plain", {5}, 0, 224);
  bytes.Data(224 + 20);
  return bytes;
}

TEST(Gguf, MetadataAndTensors) {
  const std::string text = Small().text();
  for (const size_t version : {2, 3}) {
    std::string file = text;
    file[4] = static_cast<char>(version);
    const auto gguf = Parse(file);
    ASSERT_TRUE(gguf) << gguf.error().message;
    const GgufMetadata& m = gguf->metadata;
    EXPECT_EQ(m.String("general.architecture"), "deepseek2");
    EXPECT_EQ(m.Int("n"), 7);
    EXPECT_EQ(m.Int("below"), -3);
    EXPECT_EQ(m.Number("n"), 7.0);
    EXPECT_EQ(m.Number("eps"), 1e-6);  // the decimal that was meant
    EXPECT_EQ(m.Bool("yes"), true);
    EXPECT_EQ(m.Strings("words"), (std::vector<std::string_view>{"a", "", "ccc"}));
    EXPECT_EQ(m.Ints("ids"), (std::vector<int64_t>{5, -6}));
    EXPECT_EQ(m.Count("words"), 3);
    EXPECT_EQ(m.Count("n") + m.Count("absent"), 0);
    for (const char* key : {"absent", "eps", "words", "general.architecture"}) EXPECT_FALSE(m.Int(key)) << key;
    EXPECT_FALSE(m.String("n") || m.Strings("ids") || m.Ints("words") || m.Number("words"));
    const TensorRef& blocks = gguf->tensors.find("blocks")->second;
    EXPECT_EQ(blocks.dtype, DType::kQ8_0);
    EXPECT_EQ(blocks.shape, (std::vector<int64_t>{3, 64}));
    EXPECT_EQ(blocks.bytes.size(), 3u * 2 * 34);
    EXPECT_EQ(gguf->tensors.find("plain")->second.bytes.size(), 20u);
  }
}

TEST(Gguf, EveryCutIsNoticed) {
  const std::string text = Small().text();
  for (size_t length = 0; length < text.size(); ++length) {
    const auto result = Parse(text.substr(0, length));
    ASSERT_FALSE(result.has_value()) << length;
    EXPECT_EQ(result.error().code, Code::kDamaged);
  }
}

TEST(Gguf, RefusesWhatItCannotBelieve) {
  ExpectRefused(Bytes().Put(uint64_t{7}), Code::kDamaged, "does not begin with \"GGUF\"");
  ExpectRefused(Start(0, 0, 1), Code::kUnsupported, "version 1");
  ExpectRefused(Start(0, 0, 0x03000000), Code::kUnsupported, "big-endian");
  ExpectRefused(Start(uint64_t{1} << 60, 0), Code::kDamaged, "states 1152921504606846976 tensors");
  ExpectRefused(Start(0, 70000).Data(1 << 20), Code::kDamaged, "or than 65536");
  ExpectRefused(Start(0, ~uint64_t{0}), Code::kDamaged, "metadata values, more than");
  ExpectRefused(Start(0, 1).Put(~uint64_t{0}).Data(64), Code::kDamaged, "the key of metadata value 0");
  ExpectRefused(Start(0, 1).Value("k", static_cast<GgufType>(99), uint64_t{0}), Code::kDamaged,
                "k has the unknown type 99");
  ExpectRefused(Start(0, 1).Text("k").Put(GgufType::kArray).Put(GgufType::kU64).Put(uint64_t{1} << 61).Data(64),
                Code::kDamaged, "k states 2305843009213693952 elements");
  ExpectRefused(Start(0, 1).Text("k").Put(GgufType::kArray).Put(GgufType::kArray).Put(uint64_t{1}).Data(64),
                Code::kUnsupported, "array of arrays");
  ExpectRefused(Start(0, 2).Value("k", GgufType::kU8, '\0').Value("k", GgufType::kU8, '\0'), Code::kDamaged,
                "the key k appears twice");
  for (const uint32_t alignment : {0u, 24u, 1u << 30})
    ExpectRefused(Start(0, 1).Value("general.alignment", GgufType::kU32, alignment), Code::kDamaged,
                  "general.alignment is");

  const auto tensor = [](std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    return Start(1, 0).Tensor("t", std::move(dims), type, offset).Data(256);
  };
  ASSERT_TRUE(Parse(tensor({64}, 0, 0).text()));
  // An alignment below that of the numbers.
  ExpectRefused(Start(1, 1).Value("general.alignment", GgufType::kU32, 1u).Tensor("t", {3}, 0, 1).Data(256, 1),
                Code::kDamaged, "not a multiple of its numbers' 4 bytes");
  ExpectRefused(tensor({64}, 0, 32), Code::kDamaged, "tensor t has 256 bytes at byte 32");
  ExpectRefused(tensor({64}, 0, uint64_t{1} << 61), Code::kDamaged, "tensor t has 256 bytes");
  ExpectRefused(tensor({64}, 0, uint64_t{1} << 63), Code::kDamaged, "beyond any file");
  ExpectRefused(tensor({8}, 0, 8), Code::kDamaged, "not a multiple of 32");
  ExpectRefused(tensor({8, 0}, 0, 0), Code::kDamaged, "has the dimension 0");
  ExpectRefused(tensor({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0), Code::kDamaged,
                "has the dimension 1099511627776");
  ExpectRefused(tensor({}, 0, 0), Code::kDamaged, "has 0 dimensions");
  ExpectRefused(tensor({1, 1, 1, 1, 1}, 0, 0), Code::kDamaged, "has 5 dimensions");
  ExpectRefused(tensor({40}, 8, 0), Code::kDamaged, "rows of 40 values, not a multiple of 32");
  ExpectRefused(tensor({32}, 12, 0), Code::kDamaged, "rows of 32 values, not a multiple of 256");
  ExpectRefused(tensor({256}, 10, 0), Code::kUnsupported, "tensor t is of the type Q2_K");
  ExpectRefused(tensor({256}, 777, 0), Code::kUnsupported, "tensor t is of the type 777");
  ExpectRefused(Start(2, 0).Tensor("t", {8}, 0, 0).Tensor("t", {8}, 0, 32).Data(64), Code::kDamaged, "t appears twice");
  ExpectRefused(Start(2, 0).Tensor("t", {9}, 0, 0).Tensor("u", {8}, 0, 32).Data(64), Code::kDamaged,
                "tensors t and u overlap at byte 32");
}

class GgufParts : public testing::Test {
 protected:
  GgufParts() {
    std::string name = (std::filesystem::temp_directory_path() / "minke_gguf_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~GgufParts() override { std::filesystem::remove_all(folder_); }
  std::string Write(const std::string& name, const Bytes& bytes) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes.text();
    return folder_ + "/" + name;
  }
  static Bytes Part(uint16_t number, uint16_t count, const std::string& tensor) {
    Bytes bytes = Start(1, 3);
    bytes.Value("split.no", GgufType::kU16, number).Value("split.count", GgufType::kU16, count);
    bytes.Value("n", GgufType::kU8, static_cast<uint8_t>(number)).Tensor(tensor, {8}, 0, 0).Data(32);
    return bytes;
  }
  std::string folder_;
};

TEST_F(GgufParts, AnyPartOpensAll) {
  const std::string one = Write("m-00001-of-00002.gguf", Part(0, 2, "a")),
                    two = Write("m-00002-of-00002.gguf", Part(1, 2, "b"));
  for (const std::string& path : {one, two}) {
    const auto files = OpenGguf(path);
    ASSERT_TRUE(files) << files.error().message;
    ASSERT_EQ(files->parts.size(), 2u);
    EXPECT_TRUE(files->parts[0]->Find("a") && files->parts[1]->Find("b"));
    EXPECT_EQ(files->metadata.Int("n"), 0);  // the first part's
  }
}

TEST_F(GgufParts, APartThatIsMissingOrAnothersIsNamed) {
  const std::string one = Write("m-00001-of-00002.gguf", Part(0, 2, "a"));
  const auto missing = OpenGguf(one);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("m-00002-of-00002.gguf"), std::string::npos);
  Write("m-00002-of-00002.gguf", Part(0, 2, "b"));
  EXPECT_NE(OpenGguf(one).error().message.find("is not part 2 of 2"), std::string::npos);
  EXPECT_NE(OpenGguf(Write("other.gguf", Part(0, 2, "a"))).error().message.find("must end with -00001-of-00002.gguf"),
            std::string::npos);
  Bytes many = Start(0, 2);
  many.Value("split.no", GgufType::kI64, INT64_MAX).Value("split.count", GgufType::kU16, uint16_t{2}).Data(32);
  EXPECT_NE(OpenGguf(Write("many.gguf", many)).error().message.find("split.no is missing"), std::string::npos);
}

TEST(TensorFile, ValueAtNeedsNoAlignment) {
  std::vector<std::byte> bytes(1 + 8);
  const float values[] = {1.5f, -2.0f};
  std::memcpy(bytes.data() + 1, values, sizeof values);
  const TensorRef tensor = {DType::kF32, {2}, std::span(bytes).subspan(1)};
  EXPECT_EQ(ValueAt(tensor, 0), 1.5f);
  EXPECT_EQ(ValueAt(tensor, 1), -2.0f);
}

TEST(Encode, LargestIsTheLastValueThatStaysFinite) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kQ8_0}) {
    std::vector<float> row(32, LargestOf(dtype));
    std::vector<std::byte> bytes(static_cast<size_t>(RowBytes(dtype, 32)));
    EncodeRow(dtype, row, bytes.data());
    EXPECT_TRUE(std::isfinite(ValueAt({dtype, {32}, bytes}, 0))) << DTypeName(dtype);
    for (float& value : row) value = std::nextafter(value, INFINITY) * 1.001f;
    EncodeRow(dtype, row, bytes.data());
    EXPECT_FALSE(std::isfinite(ValueAt({dtype, {32}, bytes}, 0))) << DTypeName(dtype);
  }
}

TEST(GgufVerify, BlocksWithAScaleThatIsNotFinite) {
  const auto pool = ThreadPool::Create(2).value();
  for (const auto& [dtype, at] :
       {std::pair{DType::kQ8_0, 0}, {DType::kQ5_1, 2}, {DType::kQ4_K, 2}, {DType::kQ6_K, 208}}) {
    std::vector<std::byte> bytes(static_cast<size_t>(5 * BlockBytes(dtype)), std::byte{0});
    const TensorRef tensor = {dtype, {1, 5 * BlockCols(dtype)}, bytes};
    EXPECT_FALSE(FindBadValues(tensor, ValueRule::kFinite, *pool));
    bytes[static_cast<size_t>(3 * BlockBytes(dtype) + at + 1)] = std::byte{0x7E};
    const auto bad = FindBadValues(tensor, ValueRule::kFinite, *pool);
    ASSERT_TRUE(bad) << DTypeName(dtype);
    EXPECT_EQ(bad->count, 1);
    EXPECT_EQ(bad->first, 3 * BlockCols(dtype));
    EXPECT_TRUE(std::isnan(bad->value));
  }
}

}  // namespace
}  // namespace minke
