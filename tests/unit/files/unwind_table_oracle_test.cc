// UnwindTable against elfutils: the same rule at every row of real programs.
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <libelf.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <random>

#include "daemon/base/fd.h"
#include "daemon/files/unwind_table.h"

namespace hotpath {
namespace {

struct Operations {
  Dwarf_Op* list = nullptr;
  size_t count = 0;
  uint8_t atom(size_t i) const { return i < count ? list[i].atom : 0; }
};

struct Free {
  void operator()(void* memory) const { free(memory); }
};
using Frame = std::unique_ptr<Dwarf_Frame, Free>;

hp_rule Kind(hp_cfa_kind kind) {
  hp_rule rule{};
  rule.cfa_kind = kind;
  return rule;
}

// breg* of either spelling.
bool IsRegister(const Dwarf_Op& op, uint64_t& reg, int64_t& offset) {
  if (op.atom == DW_OP_bregx) {
    reg = op.number;
    offset = static_cast<int64_t>(op.number2);
    return true;
  }
  reg = op.atom - DW_OP_breg0;
  offset = static_cast<int64_t>(op.number);
  return op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31;
}

bool SetCfa(const Operations& ops, hp_rule& rule) {
  uint64_t reg = 0;
  int64_t offset = 0;
  if (ops.count == 0 || !IsRegister(ops.list[0], reg, offset) || reg > 15) return false;
  rule.cfa_reg = static_cast<uint8_t>(reg);
  rule.cfa_offset = static_cast<int32_t>(offset);
  if (ops.count == 1) {
    rule.cfa_kind = HP_CFA_REG;
    return true;
  }
  if (ops.count <= 3 && ops.atom(1) == DW_OP_deref) {
    if (ops.count == 3 && ops.atom(2) != DW_OP_plus_uconst) return false;
    rule.cfa_kind = HP_CFA_DEREF;
    if (ops.count == 3) rule.cfa_add = static_cast<int16_t>(ops.list[2].number);
    return true;
  }
  if (ops.count == 9 && ops.atom(5) == DW_OP_ge && ops.atom(1) == DW_OP_breg16) {
    rule.cfa_kind = HP_CFA_PLT;
    rule.cfa_offset = ops.atom(4) - DW_OP_lit0;
    return true;
  }
  return false;
}

bool IsAtCfa(const Operations& ops, int64_t& offset) {
  if (ops.atom(0) != DW_OP_call_frame_cfa) return false;
  offset = ops.count == 2 ? static_cast<int64_t>(ops.list[1].number) : 0;
  return ops.count == 1 || (ops.count == 2 && ops.atom(1) == DW_OP_plus_uconst);
}

// What `rule`, whose CFA is set, says of rbx. elfutils 0.188 takes rbx for undefined where the CFI
// says nothing of it, for its list of the registers that functions keep has rax in its place.
void SetRbx(const Operations& rbx, hp_rule& rule) {
  if (rbx.count == 0) {
    rule.rbx_kind = HP_RBX_SAME;
    return;
  }
  uint64_t reg = 0;
  int64_t offset = 0;
  rule.rbx_kind = HP_RBX_UNDEFINED;
  if (IsAtCfa(rbx, offset)) {
    rule.rbx_kind = HP_RBX_CFA;
  } else if (rbx.count <= 2 && IsRegister(rbx.list[rbx.count - 1], reg, offset) && reg == 6) {
    rule.rbx_kind = HP_RBX_RBP;
  }
  if (rule.rbx_kind == HP_RBX_CFA && rule.cfa_kind == HP_CFA_REG && rule.cfa_reg == 7 &&
      rule.cfa_offset + offset < 0) {
    rule.rbx_kind = HP_RBX_SAME;  // Below the stack pointer.
  } else if (rule.rbx_kind != HP_RBX_UNDEFINED && offset <= 0 && offset >= -2040 &&
             offset % 8 == 0) {
    rule.rbx_words = static_cast<uint8_t>(-offset / 8);
  } else {
    rule.rbx_kind = HP_RBX_UNDEFINED;
  }
}

// The rule of `frame`, decoded on its own; nullopt: the table's form cannot hold it.
std::optional<hp_rule> Decode(Dwarf_Frame* frame) {
  Dwarf_Addr start = 0, end = 0;
  bool signal = false;
  dwarf_frame_info(frame, &start, &end, &signal);
  if (signal) return Kind(HP_CFA_SIGNAL);
  Dwarf_Op ra_memory[3], rbx_memory[3], rbp_memory[3], rsp_memory[3];
  Operations ra, rbx, rbp, rsp, cfa;
  dwarf_frame_register(frame, 16, ra_memory, &ra.list, &ra.count);
  dwarf_frame_register(frame, 3, rbx_memory, &rbx.list, &rbx.count);
  dwarf_frame_register(frame, 6, rbp_memory, &rbp.list, &rbp.count);
  dwarf_frame_register(frame, 7, rsp_memory, &rsp.list, &rsp.count);
  dwarf_frame_cfa(frame, &cfa.list, &cfa.count);
  if (ra.count == 0 && ra.list == ra_memory) return Kind(HP_CFA_ROOT);
  hp_rule rule{};
  if (!SetCfa(cfa, rule)) return std::nullopt;
  int64_t offset = 0;
  if (rsp.atom(0) == DW_OP_regx) {  // __longjmp: the caller's rsp is that register.
    if (ra.atom(0) != DW_OP_regx) return std::nullopt;
    rule = Kind(HP_CFA_REG);
    rule.cfa_reg = static_cast<uint8_t>(rsp.list[0].number);
    rule.rbp_kind = rbp.count == 0 ? HP_RBP_SAME : HP_RBP_UNDEFINED;
    rule.rbx_kind = rbx.count == 0 ? HP_RBX_SAME : HP_RBX_UNDEFINED;
    rule.ra = static_cast<uint8_t>(1 + ra.list[0].number);
    return rule;
  }
  if (ra.atom(0) == DW_OP_regx) {
    rule.ra = static_cast<uint8_t>(1 + ra.list[0].number);
  } else if (!IsAtCfa(ra, offset) || offset != -8) {
    return std::nullopt;
  }
  uint64_t reg = 0;
  if (rbp.count == 0) {
    rule.rbp_kind = rbp.list == nullptr ? HP_RBP_SAME : HP_RBP_UNDEFINED;
  } else if (IsAtCfa(rbp, offset)) {
    rule.rbp_kind = HP_RBP_CFA;
    rule.rbp_offset = static_cast<int32_t>(offset);
  } else if (rbp.count <= 2 && IsRegister(rbp.list[rbp.count - 1], reg, offset) && reg == 6) {
    rule.rbp_kind = HP_RBP_DEREF_RBP;
    rule.rbp_offset = static_cast<int32_t>(offset);
  } else {
    rule.rbp_kind = HP_RBP_UNDEFINED;
  }
  SetRbx(rbx, rule);
  return rule;
}

std::string Text(const hp_rule& rule) {
  return fmt::format("cfa {}: r{}{:+}, add {}; rbp {}: {:+}; rbx {}: {}; ra {}", rule.cfa_kind,
                     rule.cfa_reg, rule.cfa_offset, rule.cfa_add, rule.rbp_kind, rule.rbp_offset,
                     rule.rbx_kind, rule.rbx_words, rule.ra);
}

struct Oracle {
  explicit Oracle(const std::string& path) : fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    elf_version(EV_CURRENT);
    elf = elf_begin(fd.get(), ELF_C_READ_MMAP, nullptr);
    cfi = dwarf_getcfi_elf(elf);
    if (cfi == nullptr) {
      dwarf = dwarf_begin_elf(elf, DWARF_C_READ, nullptr);
      cfi = dwarf_getcfi(dwarf);
      borrowed = true;
    }
  }
  ~Oracle() {
    if (cfi != nullptr && !borrowed) dwarf_cfi_end(cfi);
    if (dwarf != nullptr) dwarf_end(dwarf);
    elf_end(elf);
  }
  Frame At(uint64_t address) const {
    Dwarf_Frame* frame = nullptr;
    dwarf_cfi_addrframe(cfi, address, &frame);
    return Frame(frame);
  }
  Fd fd;
  Elf* elf = nullptr;
  Dwarf* dwarf = nullptr;
  Dwarf_CFI* cfi = nullptr;
  bool borrowed = false;  // cfi belongs to dwarf.
};

// FDEs of .eh_frame, counted by elfutils.
size_t CountFunctions(Elf* elf, const ElfFile& ours) {
  const ElfSection* section = ours.FindSection(".eh_frame");
  Elf_Scn* scn = elf_getscn(elf, static_cast<size_t>(section - ours.sections().data()));
  Elf_Data* data = elf_rawdata(scn, nullptr);
  const auto* ident = reinterpret_cast<const unsigned char*>(elf_getident(elf, nullptr));
  size_t count = 0;
  Dwarf_Off offset = 0;
  while (true) {
    Dwarf_Off next = 0;
    Dwarf_CFI_Entry entry;
    const int status = dwarf_next_cfi(ident, data, true, offset, &next, &entry);
    if (status == 1 || next <= offset) return count;
    if (status == 0 && !dwarf_cfi_cie_p(&entry)) ++count;
    offset = next;
  }
}

struct Program {
  const char* name;
  std::vector<std::string> paths;  // The first that exists.
  size_t every;                    // Look at one function in so many.
  bool required;
};

void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }

std::string LibraryPath(const void* symbol) {
  Dl_info info{};
  dladdr(symbol, &info);
  return info.dli_fname == nullptr ? std::string() : info.dli_fname;
}

class OnRealProgram : public testing::TestWithParam<Program> {};

TEST_P(OnRealProgram, EveryRowHasTheRuleThatElfutilsGives) {
  std::string path;
  for (const std::string& candidate : GetParam().paths) {
    if (path.empty() && std::filesystem::exists(candidate)) path = candidate;
  }
  if (path.empty()) {
    ASSERT_FALSE(GetParam().required) << GetParam().name << " is on every machine";
    GTEST_SKIP() << GetParam().name << " is not on this machine";
  }
  Oracle oracle(path);
  ASSERT_NE(oracle.cfi, nullptr);
  auto elf = ElfFile::Open(oracle.fd.get());
  ASSERT_TRUE(elf);
  auto table = UnwindTable::FromElf(*elf);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->damaged(), 0);
  EXPECT_EQ(table->rules_dropped(), 0);
  if (table->source() == "eh_frame") {
    EXPECT_EQ(table->functions().size() + table->outside() + table->overlapping(),
              CountFunctions(oracle.elf, *elf));
  }

  std::mt19937_64 random(1);
  size_t compared = 0, inexpressible = 0, wrong = 0;
  const auto compare = [&](uint64_t address, const std::optional<hp_rule>& expected) {
    const hp_rule& found = table->Find(*elf->OffsetOfAddress(address));
    const hp_rule wanted = expected.value_or(Kind(HP_CFA_NONE));
    ++compared;
    inexpressible += !expected;
    if (std::memcmp(&found, &wanted, sizeof(found)) != 0 && ++wrong <= 10) {
      ADD_FAILURE() << fmt::format("at {:#x}: {} instead of {}", address, Text(found),
                                   Text(wanted));
    }
  };
  for (size_t i = 0; i < table->functions().size(); i += GetParam().every) {
    const FunctionRange& function = table->functions()[i];
    const uint64_t function_end = function.address + function.bytes;
    for (uint64_t address = function.address; address < function_end;) {
      Frame frame = oracle.At(address);
      ASSERT_NE(frame, nullptr) << fmt::format("{:#x}: {}", address, dwarf_errmsg(-1));
      Dwarf_Addr start = 0, end = 0;
      bool signal = false;
      dwarf_frame_info(frame.get(), &start, &end, &signal);
      ASSERT_GT(end, address);
      end = std::min<uint64_t>(end, function_end);
      const auto expected = Decode(frame.get());
      compare(address, expected);
      compare(end - 1, expected);
      compare(address + random() % (end - address), expected);
      address = end;
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(compared, 0);
  EXPECT_LE(inexpressible * 1000, compared);
  RecordProperty("compared", static_cast<int>(compared));
  fmt::print(
      "{}: {} addresses compared, {} differ, {} inexpressible; {} rows, {} rules, {} "
      "functions, {} unsupported\n",
      GetParam().name, compared, wrong, inexpressible, table->rows().size(), table->rules().size(),
      table->functions().size(), table->unsupported());
}

INSTANTIATE_TEST_SUITE_P(
    Oracle, OnRealProgram,
    testing::Values(Program{"libc", {LibraryPath(reinterpret_cast<void*>(&getpid))}, 1, true},
                    Program{"ld_so", {"/lib64/ld-linux-x86-64.so.2"}, 1, true},
                    Program{
                        "libstdcxx", {LibraryPath(dlsym(RTLD_DEFAULT, "__cxa_throw"))}, 2, true},
                    Program{"bash", {"/bin/bash"}, 2, true},
                    Program{"itself", {"/proc/self/exe"}, 2, true},
                    Program{"libcrypto", {"/usr/lib/x86_64-linux-gnu/libcrypto.so.3"}, 3, false},
                    Program{"libgcrypt", {"/usr/lib/x86_64-linux-gnu/libgcrypt.so.20"}, 1, false},
                    Program{"libpython", {"/usr/bin/python3"}, 4, false},
                    Program{"libLLVM",
                            {"/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1",
                             "/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1"},
                            100,
                            false},
                    Program{"cc1plus", {"/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus"}, 40, false}),
    [](const auto& program) { return std::string(program.param.name); });

TEST(UnwindTable, HasAsManyRowsForLibcAsItsCodeSuggests) {
  Fd fd(open(LibraryPath(reinterpret_cast<void*>(&getpid)).c_str(), O_RDONLY | O_CLOEXEC));
  auto elf = ElfFile::Open(fd.get());
  ASSERT_TRUE(elf);
  auto table = UnwindTable::FromElf(*elf);
  ASSERT_TRUE(table);
  uint64_t code_bytes = 0;
  for (const ElfSegment& segment : elf->segments()) {
    if (segment.executable) code_bytes += segment.file_bytes;
  }
  const double rows_per_kib =
      static_cast<double>(table->rows().size()) / (static_cast<double>(code_bytes) / 1024);
  EXPECT_GT(rows_per_kib, 8);
  EXPECT_LT(rows_per_kib, 36);
  EXPECT_LT(table->rules().size(), 1000);
  const double bytes_per_row =
      static_cast<double>(table->ToWords().words.size() * 4) / table->rows().size();
  EXPECT_LT(bytes_per_row, 5);
}

}  // namespace
}  // namespace hotpath
