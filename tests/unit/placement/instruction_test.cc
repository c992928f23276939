// What the kernel emulates, instruction by instruction.
#include "daemon/placement/instruction.h"

#include <gtest/gtest.h>

#include <ostream>

namespace hotpath {
namespace {

struct Case {
  const char* text;  // As InstructionText() writes it.
  std::vector<uint8_t> bytes;
  ProbeClass probe_class;
};

std::ostream& operator<<(std::ostream& out, const Case& the_case) { return out << the_case.text; }

class Classes : public testing::TestWithParam<Case> {};

TEST_P(Classes, AreThoseOfTheKernelAndNoBetter) {
  const Case& expected = GetParam();
  const auto instruction = DecodeInstruction(expected.bytes, 0x1000);
  ASSERT_TRUE(instruction);
  EXPECT_EQ(instruction->bytes, expected.bytes.size());
  EXPECT_STREQ(NameOf(instruction->probe_class), NameOf(expected.probe_class));
  EXPECT_EQ(InstructionText(expected.bytes, 0x1000), expected.text);
}

constexpr auto kEmulated = ProbeClass::kEmulated;
constexpr auto kStepped = ProbeClass::kStepped;
constexpr auto kRefused = ProbeClass::kRefused;

INSTANTIATE_TEST_SUITE_P(
    Instruction, Classes,
    testing::Values(
        Case{"push %rbp", {0x55}, kEmulated}, Case{"push %r15", {0x41, 0x57}, kEmulated},
        Case{"push %rsp", {0x54}, kEmulated}, Case{"nop", {0x90}, ProbeClass::kNop},
        Case{"je 0x1012", {0x74, 0x10}, kEmulated}, Case{"jg 0xff2", {0x7f, 0xf0}, kEmulated},
        Case{"ja 0x1106", {0x0f, 0x87, 0, 1, 0, 0}, kEmulated},
        Case{"jmp 0x1012", {0xeb, 0x10}, kEmulated},
        Case{"jmp 0x1105", {0xe9, 0, 1, 0, 0}, kEmulated},
        Case{"call 0x1105", {0xe8, 0, 1, 0, 0}, kEmulated},
        // Not emulated, but harmless to step.
        Case{"endbr64", {0xf3, 0x0f, 0x1e, 0xfa}, kStepped},
        Case{"test %rdi,%rdi", {0x48, 0x85, 0xff}, kStepped},
        Case{"push $0x10", {0x6a, 0x10}, kStepped}, Case{"push %ax", {0x66, 0x50}, kStepped},
        Case{"push %rax", {0x48, 0x50}, kStepped},
        // An exchange of r8 and rax, which old kernels take for a nop.
        Case{"xchg %rax,%r8", {0x49, 0x90}, kRefused},
        // Kernels 6.18 to 7.1 write below the stack pointer at a nop of 5 bytes.
        Case{"nop %eax,(%rax,%rax,1)", {0x0f, 0x1f, 0x44, 0, 0}, kRefused},
        // A 16-bit branch, a hinted branch, a branch by count: no.
        Case{"je 0x1013", {0x3e, 0x74, 0x10}, kRefused},
        Case{"jrcxz 0x1012", {0xe3, 0x10}, kRefused}, Case{"ret", {0xc3}, kRefused},
        Case{"jmp %rax", {0xff, 0xe0}, kRefused}, Case{"int3", {0xcc}, kRefused},
        Case{"syscall", {0x0f, 0x05}, kRefused}, Case{"hlt", {0xf4}, kRefused},
        Case{"pop %rbp", {0x5d}, kRefused}));

TEST(Instruction, SixteenBitBranchesAreRefused) {
  for (const std::vector<uint8_t>& bytes :
       {std::vector<uint8_t>{0x66, 0xe9, 0, 1, 0, 0}, {0x66, 0x74, 0x10}, {0x66, 0xeb, 0x10}}) {
    const auto instruction = DecodeInstruction(bytes, 0x1000);
    if (instruction) {
      EXPECT_EQ(instruction->probe_class, kRefused);
    }
  }
}

TEST(Instruction, CutBytesAreNone) {
  EXPECT_FALSE(DecodeInstruction({}, 0x1000));
  EXPECT_FALSE(DecodeInstruction(std::vector<uint8_t>{0xe9, 0, 0}, 0x1000));
  EXPECT_FALSE(DecodeInstruction(std::vector<uint8_t>{0x06}, 0x1000));
  EXPECT_EQ(InstructionText({}, 0x1000), "");
}

TEST(Instruction, AWriteToAPartOfARegisterIsAWriteToIt) {
  const auto bit = [](Register reg) {
    return static_cast<uint16_t>(1U << static_cast<unsigned>(reg));
  };
  // mov $1,%dil; add $7,%edi; mul %rsi; push %rbx
  EXPECT_EQ(DecodeInstruction(std::vector<uint8_t>{0x40, 0xb7, 1}, 0)->written,
            bit(Register::kRdi));
  EXPECT_EQ(DecodeInstruction(std::vector<uint8_t>{0x83, 0xc7, 7}, 0)->written,
            bit(Register::kRdi));
  EXPECT_EQ(DecodeInstruction(std::vector<uint8_t>{0x48, 0xf7, 0xe6}, 0)->written,
            bit(Register::kRax) | bit(Register::kRdx));
  EXPECT_EQ(DecodeInstruction(std::vector<uint8_t>{0x53}, 0)->written, bit(Register::kRsp));
}

TEST(Instruction, TheSweepSeesTheSameFlow) {
  for (const std::vector<uint8_t>& bytes : {std::vector<uint8_t>{0x74, 0x10},
                                            {0xe9, 0, 1, 0, 0},
                                            {0xff, 0xe0},
                                            {0xc3},
                                            {0xcc},
                                            {0xff, 0x25, 0, 0, 0, 0},
                                            {0xff, 0xd0},
                                            {0x55},
                                            {0xe8, 0, 0, 0, 0},
                                            {0x0f, 0x0b}}) {
    const auto full = DecodeInstruction(bytes, 0x1000);
    const auto flow = DecodeFlow(bytes, 0x1000);
    ASSERT_TRUE(full && flow) << int{bytes[0]};
    EXPECT_EQ(full->flow, flow->flow) << int{bytes[0]};
    EXPECT_EQ(full->target, flow->target);
    EXPECT_EQ(full->bytes, flow->bytes);
  }
}

}  // namespace
}  // namespace hotpath
