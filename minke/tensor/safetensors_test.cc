#include "minke/tensor/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace minke {
namespace {

// A file of a header, as text, and `data_bytes` bytes. The header is padded so that data starts 8-byte aligned.
std::string File(std::string header, size_t data_bytes, bool pad = true) {
  if (pad) header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(data_bytes, '\1');
}

auto Parse(const std::string& file) { return ParseSafetensors(std::as_bytes(std::span(file)), "f.safetensors"); }

TEST(Safetensors, ReadsTensors) {
  const std::string file = File(R"({"__metadata__":{"format":"pt"},
      "b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
      "a":{"shape":[2],"data_offsets":[24,28],"dtype":"BF16"},
      "scalar":{"dtype":"U8","shape":[],"data_offsets":[28,29]}})",
                                29);
  const auto tensors = Parse(file);
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3u);
  const TensorRef& b = tensors->at("b");
  EXPECT_EQ(b.dtype, DType::kF32);
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b.num_elements(), 6);
  EXPECT_EQ(b.bytes.size(), 24u);
  EXPECT_EQ(tensors->at("a").bytes.data(), b.bytes.data() + 24);
  EXPECT_EQ(tensors->at("scalar").num_elements(), 1);
}

TEST(Safetensors, AFileWithoutTensorsIsFine) {
  EXPECT_TRUE(Parse(File("{}", 0))->empty());
  EXPECT_TRUE(Parse(File(R"({"__metadata__":{}})", 0))->empty());
}

// As in the reference implementation: a tensor without elements has no bytes, anywhere between its neighbours.
TEST(Safetensors, ZeroSizedTensorsAreRead) {
  const auto tensors = Parse(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
      "e1":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},"e2":{"dtype":"F64","shape":[0],"data_offsets":[4,4]},
      "e3":{"dtype":"F64","shape":[7,0],"data_offsets":[8,8]},
      "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                  8));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->at("e1").num_elements(), 0);
  EXPECT_TRUE(tensors->at("e1").bytes.empty());
}

struct BadFile {
  const char* name;
  std::string file;
  const char* message;
  Code code = Code::kDamaged;
};

class BadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, IsRefusedWithReason) {
  const auto tensors = Parse(GetParam().file);
  ASSERT_FALSE(tensors);
  EXPECT_EQ(tensors.error().code, GetParam().code);
  EXPECT_NE(tensors.error().message.find(GetParam().message), std::string::npos) << tensors.error().message;
  EXPECT_EQ(tensors.error().message.rfind("f.safetensors: ", 0), 0u) << tensors.error().message;
}

std::string WithLength(uint64_t length, std::string file) {
  std::memcpy(file.data(), &length, 8);
  return file;
}
std::string Entry(const std::string& fields) { return "{\"w\":{" + fields + "}}"; }

INSTANTIATE_TEST_SUITE_P(
    All, BadSafetensors,
    testing::Values(
        BadFile{"Empty", "", "has 0 bytes"}, BadFile{"Short", "1234567", "has 7 bytes"},
        BadFile{"HeaderLongerThanFile", WithLength(100, File("{}", 0)), "header of 100 bytes but has only 8"},
        BadFile{"HeaderLongerByOne", WithLength(9, File("{}", 0)), "header of 9 bytes but has only 8"},
        BadFile{"HeaderOver100MB", WithLength(100'000'001, File("{}", 0)), "header of 100000001 bytes, more than"},
        BadFile{"HeaderLengthMax", WithLength(~uint64_t{0}, File("{}", 0)), "header of 18446744073709551615 bytes"},
        BadFile{"NotJson", File("hello", 0), "not valid JSON at byte 1"},
        BadFile{"CutJson", File(R"({"w":{"dtype":"F32")", 4), "not valid JSON"},
        BadFile{"EmptyHeader", File("", 0), "not valid JSON"},
        BadFile{"NotAnObject", File("[1]", 0), "the header holds an array"},
        BadFile{"JustANumber", File("1", 0), "the header holds a number"},
        BadFile{"Null", File("null", 0), "the header holds null"},
        BadFile{"TwoValues", File("{}{}", 0), "not valid JSON"},
        BadFile{"InvalidUtf8", File("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0),
                "not valid JSON"},
        BadFile{"DuplicateName",
                File(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                                          "w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                     2),
                "the name \"w\" appears twice"},
        BadFile{"DuplicateMetadata", File(R"({"__metadata__":{},"__metadata__":{}})", 0), "appears twice"},
        BadFile{"MetadataNotText", File(R"({"__metadata__":{"a":1}})", 0), "tensor __metadata__ holds a number"},
        BadFile{"TensorNotAnObject", File(R"({"w":3})", 0), "tensor w holds a number"},
        BadFile{"DuplicateField", File(Entry(R"("dtype":"U8","dtype":"U8")"), 0), "\"dtype\" twice"},
        BadFile{"UnknownField", File(Entry(R"("dtype":"U8","strides":[1])"), 0), "unknown field \"strides\""},
        BadFile{"NoDtype", File(Entry(R"("shape":[1],"data_offsets":[0,1])"), 1), "tensor w lacks \"dtype\""},
        BadFile{"NoShape", File(Entry(R"("dtype":"U8","data_offsets":[0,1])"), 1), "tensor w lacks \"shape\""},
        BadFile{"NoOffsets", File(Entry(R"("dtype":"U8","shape":[1])"), 1), "tensor w lacks \"data_offsets\""},
        BadFile{"UnknownDtype", File(Entry(R"("dtype":"F4","shape":[1],"data_offsets":[0,1])"), 1),
                "tensor w has the dtype \"F4\"", Code::kUnsupported},
        BadFile{"DtypeNotText", File(Entry(R"("dtype":7)"), 0), "tensor w holds a number"},
        BadFile{"OneOffset", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[0])"), 1),
                "needs two data_offsets"},
        BadFile{"ThreeOffsets", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,2])"), 1), "more than two"},
        BadFile{"NegativeOffset", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[-1,0])"), 1),
                "negative number -1"},
        BadFile{"FractionalOffset", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,1.0])"), 1),
                "the number 1.0"},
        BadFile{"HugeOffset", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,9223372036854775808])"), 1),
                "the number 9223372036854775808"},
        BadFile{"OffsetBeyondU64",
                File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,99999999999999999999])"), 1),
                "the number 99999999999999999999"},
        BadFile{"BackwardOffsets", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])"), 1), "run backwards"},
        BadFile{"OutOfRange", File(Entry(R"("dtype":"U8","shape":[2],"data_offsets":[0,2])"), 1),
                "ends at byte 2 of the data, which has 1"},
        BadFile{"NegativeDim", File(Entry(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])"), 1),
                "negative number -1"},
        BadFile{"NestedShape", File(Entry(R"("dtype":"U8","shape":[[1]],"data_offsets":[0,1])"), 1),
                "tensor w holds an array"},
        BadFile{"DeepNesting", File("{\"w\":" + std::string(100000, '['), 0), "tensor w holds an array"},
        BadFile{"TooManyDims", File(Entry(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1])"), 1),
                "more than 16 dimensions"},
        BadFile{"ShapeTooSmall", File(Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), 4),
                "of type F32 and shape [2] needs 8 bytes, but its data_offsets [0, 4] hold 4"},
        BadFile{"ShapeOverflow",
                File(Entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), 0),
                "size overflows"},
        BadFile{"ShapeOverflowToZero",
                File(Entry(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"), 0),
                "size overflows"},
        BadFile{"OverflowHiddenByZero",
                File(Entry(R"("dtype":"U8","shape":[0,9223372036854775807,3],"data_offsets":[0,0])"), 0),
                "size overflows"},
        BadFile{"Overlap",
                File(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                                    "b":{"dtype":"U8","shape":[3],"data_offsets":[3,6]}})",
                     6),
                "tensors a and b overlap at byte 3"},
        BadFile{"SamePlace",
                File(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                                      "b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                     4),
                "tensors a and b overlap"},
        BadFile{"HoleAtStart", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])"), 2),
                "bytes 0 to 1 of the data, before tensor w"},
        BadFile{"HoleBetween",
                File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                                        "b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                     3),
                "bytes 1 to 2 of the data, before tensor b"},
        BadFile{"HoleAtEnd", File(Entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,1])"), 3), "the last 2 bytes"},
        BadFile{"MisalignedOffset",
                File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                                             "b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                     5),
                "tensor b of type F32 starts at byte"},
        BadFile{"MisalignedHeader", File(Entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])") + " ", 4, false),
                "not a multiple of 4"},
        BadFile{"ControlCharactersInName", File(R"({"a\u001b[31m":{"dtype":"X"}})", 0), "tensor a?[31m has the dtype",
                Code::kUnsupported}),
    [](const auto& test) { return test.param.name; });

TEST(Safetensors, LongNamesAreCutInMessages) {
  std::string name;
  for (int i = 0; i < 1000; ++i) name += "é";
  const auto tensors = Parse(File("{\"" + name + "\":1}", 0));
  ASSERT_FALSE(tensors);
  EXPECT_LT(tensors.error().message.size(), 200u);
  EXPECT_NE(tensors.error().message.find("é..."), std::string::npos) << tensors.error().message;
}

// Every prefix of a good file is an error, and none reads outside (run this under a sanitizer).
TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = File(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  ASSERT_TRUE(Parse(file));
  for (size_t size = 0; size < file.size(); ++size) {
    const std::vector<char> exact(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(ParseSafetensors(std::as_bytes(std::span(exact)), "f")) << size;
  }
}

TEST(Safetensors, WriterAndReaderAgree) {
  const std::string path = (std::filesystem::temp_directory_path() / "minke_safetensors_test.safetensors").string();
  const std::vector<float> floats = {1.5f, -2, 3};
  const std::vector<int64_t> longs = {7, -8};
  const std::vector<uint8_t> codes = {0x38, 0xB8, 1};
  const std::vector<TensorToWrite> tensors = {
      {"codes", DType::kF8E4M3, {3, 1}, std::as_bytes(std::span(codes))},
      {"floats \"quoted\"", DType::kF32, {3}, std::as_bytes(std::span(floats))},
      {"empty", DType::kF32, {0, 4}, {}},
      {"longs", DType::kI64, {2}, std::as_bytes(std::span(longs))},
  };
  ASSERT_TRUE(WriteSafetensors(path, tensors));
  const auto file = OpenSafetensors(path);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ((*file)->tensors().size(), tensors.size());
  for (const TensorToWrite& wrote : tensors) {
    const TensorRef* read = (*file)->Find(wrote.name);
    ASSERT_TRUE(read) << wrote.name;
    EXPECT_EQ(read->dtype, wrote.dtype);
    EXPECT_EQ(read->shape, wrote.shape);
    EXPECT_TRUE(std::ranges::equal(read->bytes, wrote.bytes)) << wrote.name;
  }
  EXPECT_EQ((*file)->Find("absent"), nullptr);
  std::filesystem::remove(path);
}

TEST(Safetensors, GoldenFileOpens) {
  const auto file = OpenSafetensors(MINKE_TEST_DATA "/golden/units/units.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->Find("index.q")->shape, (std::vector<int64_t>{64, 128}));
  EXPECT_EQ(OpenSafetensors("/no/such.safetensors").error().code, Code::kNotFound);
}

}  // namespace
}  // namespace minke
