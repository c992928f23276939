// Short names of C++, Rust, C and Go functions, and that hostile names cost nothing.
#include "daemon/symbolize/demangle.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "daemon/symbolize/rust_legacy.h"

namespace hotpath {
namespace {

struct Case {
  const char* mangled;
  const char* name;
};

class ShortName : public testing::TestWithParam<Case> {};

TEST_P(ShortName, IsWhatPeopleReadInAProfile) {
  EXPECT_EQ(Demangle(GetParam().mangled).name, GetParam().name) << GetParam().mangled;
}

constexpr Case kCxx[] = {
    {"_Z3foov", "foo"},
    {"_ZN3foo3barEii", "foo::bar"},
    {"_Z1fIiET_S0_", "f"},
    {"_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector::push_back"},
    {"_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector::push_back"},
    {"_ZNKSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE4sizeEv",
     "std::__cxx11::basic_string::size"},
    {"_ZNSs6appendEPKc", "std::string::append"},
    {"_ZNSolsEi", "std::ostream::operator<<"},
    {"_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc", "std::operator<<"},
    {"_ZltRK1AS1_", "operator<"},
    {"_ZStltIcSt11char_traitsIcESaIcEEbRKNSt7__cxx1112basic_stringIT_T0_T1_EES9_",
     "std::operator<"},
    {"_ZN1AcvbEv", "A::operator bool"},
    {"_ZN1AcvPKcEv", "A::operator char const*"},
    {"_ZN1AcvT_IiEEv", "A::operator T"},
    {"_ZN1AptEv", "A::operator->"},
    {"_ZN1AclEi", "A::operator()"},
    {"_ZN1AixEm", "A::operator[]"},
    {"_ZnwmSt11align_val_t", "operator new"},
    {"_ZdaPv", "operator delete[]"},
    {"_Zli2_sPKcm", "operator\"\" _s"},
    {"_ZN1AC1Ev", "A::A"},
    {"_ZN1AC2ERKS_", "A::A"},
    {"_ZN1AD0Ev", "A::~A"},
    {"_ZNSt6vectorIiSaIiEEC2ESt16initializer_listIiERKS0_", "std::vector::vector"},
    {"_ZNSsD1Ev", "std::basic_string::~basic_string"},
    {"_ZN12_GLOBAL__N_14workEi", "(anonymous namespace)::work"},
    {"_ZZ4mainENKUlvE_clEv", "main::{lambda#1}::operator()"},
    {"_ZZ4mainENKUliE0_clEi", "main::{lambda#2}::operator()"},
    {"_ZZ4mainENKUlT_E_clIiEEDaS_", "main::{lambda#1}::operator()"},
    {"_ZZN3foo3barEvENUlvE1_4_FUNEv", "foo::bar::{lambda#3}::_FUN"},
    {"_ZNSt17_Function_handlerIFvvEZ4mainEUlvE_E9_M_invokeERKSt9_Any_data",
     "std::_Function_handler::_M_invoke"},
    {"_ZThn16_N1B1fEv", "non-virtual thunk to B::f"},
    {"_ZTv0_n24_N1B1fEv", "virtual thunk to B::f"},
    {"_ZGVZ4mainE1x", "guard variable for main::x"},
    {"_ZNKSt8ios_base7failureB5cxx114whatEv", "std::ios_base::failure::what"},
    {"_ZN5boost6spirit2qi5parseIPKcNS1_4ruleIS4_EEEEbRT_S7_RKT0_", "boost::spirit::qi::parse"},
    {"_ZN4llvm12function_refIFvvEE11callback_fnIZNS_3fooEvEUlvE_EEvl",
     "llvm::function_ref::callback_fn"},
    // As g++ writes a member of a dependent type, and refers to the type again.
    {"_ZSt4swapImENSt9enable_ifIXsrSt6__and_IJSt6__not_ISt15__is_tuple_likeIT_EESt21is_move_"
     "constructibleIS3_ESt18is_move_assignableIS3_EEE5valueEvE4typeERS3_SC_",
     "std::swap"},
    {"_ZN2wi4sextI16generic_wide_intI22fixed_wide_int_storageILi576EEEEENS_13binary_traitsIT_S6_"
     "XsrNS_10int_traitsIS6_EE14precision_typeEXsrS8_14precision_typeEE11result_typeERKS6_j",
     "wi::sext"},
    // A substitution with arguments of its own in the type of a conversion.
    {"_ZNK1AcvSt6vectorIiSaIiEEEv", "A::operator std::vector"},
    {"_ZN3URIcvNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEv",
     "URI::operator std::__cxx11::basic_string"},
    {"_ZGTtNKSt9exception4whatEv", "transaction clone for std::exception::what"},
};
INSTANTIATE_TEST_SUITE_P(Cxx, ShortName, testing::ValuesIn(kCxx));

constexpr Case kClones[] = {
    {"_ZN3foo3barEii.cold", "foo::bar"},
    {"_ZN3foo3barEii.part.0", "foo::bar"},
    {"_ZN3foo3barEii.isra.0.cold", "foo::bar"},
    {"_ZN3foo3barEii.constprop.0.isra.0", "foo::bar"},
    {"_ZN3foo3barEii.llvm.1234567890", "foo::bar"},
    {"_ZN3foo3barEii.lto_priv.0", "foo::bar"},
    {"_Z4coroi.actor", "coro"},
    {"main.cold", "main"},
    {"sort.part.0.cold.12", "sort"},
    {"sort.constprop.3", "sort"},
    {"runtime.futex.abi0", "runtime.futex"},
    {"inner.0", "inner.0"},
    {"counter.1234", "counter.1234"},
    {"strlen_avx2.part", "strlen_avx2.part"},
    {".cold", ".cold"},
    {"actor.actor", "actor.actor"},
};
INSTANTIATE_TEST_SUITE_P(Clones, ShortName, testing::ValuesIn(kClones));

constexpr Case kVersions[] = {
    {"memcpy@@GLIBC_2.14", "memcpy"},
    {"memcpy@GLIBC_2.2.5", "memcpy"},
    {"memcpy@plt", "memcpy@plt"},
    {"_ZdlPv@plt", "operator delete@plt"},
    {"_ZNSolsEi@@GLIBCXX_3.4", "std::ostream::operator<<"},
    {"@plt", "@plt@plt"},
};
INSTANTIATE_TEST_SUITE_P(Versions, ShortName, testing::ValuesIn(kVersions));

constexpr Case kRust[] = {
    {"_RNvC6_123foo3bar", "123foo::bar"},
    {"_RNvCs1234_7mycrate3foo", "mycrate::foo"},
    {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
    {"_RNCNvCs1234_7mycrate4main0B3_", "mycrate::main::{closure#0}"},
    {"_RNCNvCs1234_7mycrate4mains_0B3_", "mycrate::main::{closure#1}"},
    {"_RINvNtC3std3mem8align_ofjdE", "std::mem::align_of"},
    {"_RINvNtC3std3mem8align_ofjdEC3foo", "std::mem::align_of"},
    {"_RNvMNtC5alloc3vecINtB2_3VechE4push", "alloc::vec::Vec::push"},
    {"_RNvMC4coreSh3len", "<[u8]>::len"},
    {"_RNvXCs1_1aNtB2_3FooNtC4core4Drop4drop", "<a::Foo as core::Drop>::drop"},
    {"_RNvYNtC1a3FooNtC4core4Iter4next", "<a::Foo as core::Iter>::next"},
    {"_RNvXs_C1aTRhOiENtC4core4Drop4drop", "<(&u8, *mut isize) as core::Drop>::drop"},
    {"_RNSNvYNtC1a3FooNtC4core6FnOnce9call_once6vtableB4_",
     "<a::Foo as core::FnOnce>::call_once::{shim:vtable#0}"},
    {"_RINvC1a1fKj10_KRe616263_E", "a::f"},
    {"_RNvC1a3foo.llvm.123", "a::foo"},
    {"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"},
    {"_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$"
     "3bar17h93f1b2c4d5e6a7b8E",
     "<Test + 'static as foo::Bar>::bar"},
    {"_ZN5alloc3vec16Vec$LT$T$C$A$GT$4push17h0123456789abcdefE", "alloc::vec::Vec::push"},
    {"_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$"
     "4drop17h0123456789abcdefE",
     "<alloc::vec::Vec as core::ops::drop::Drop>::drop"},
    {"_ZN4main4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", "main::main::{{closure}}"},
    {"_ZN4core3ptr46drop_in_place$LT$alloc..vec..Vec$LT$u8$GT$$GT$17h0123456789abcdefE.llvm.42",
     "core::ptr::drop_in_place"},
};
INSTANTIATE_TEST_SUITE_P(Rust, ShortName, testing::ValuesIn(kRust));

constexpr Case kPlain[] = {
    {"main", "main"},
    {"", ""},
    {"main.main", "main.main"},
    {"runtime.(*mheap).alloc.func1", "runtime.(*mheap).alloc.func1"},
    {"github.com/user/repo.Map[go.shape.int]", "github.com/user/repo.Map[go.shape.int]"},
    {"encoding/json.(*decodeState).object", "encoding/json.(*decodeState).object"},
    {"__x64_sys_read", "__x64_sys_read"},
    {"_Z", "_Z"},
    {"_ZN3foo", "_ZN3foo"},
    {"_R", "_R"},
    {"_RNvC", "_RNvC"},
    {"_ZNotMangled", "_ZNotMangled"},
    {"_ZGTtGTtGTt3foov", "_ZGTtGTtGTt3foov"},
};
INSTANTIATE_TEST_SUITE_P(Plain, ShortName, testing::ValuesIn(kPlain));

TEST(Demangle, TellsWhetherTheNameWasMangled) {
  EXPECT_TRUE(Demangle("_Z3foov").mangled);
  EXPECT_TRUE(Demangle("_RNvCs1234_7mycrate3foo").mangled);
  EXPECT_FALSE(Demangle("main.main").mangled);
  EXPECT_FALSE(Demangle("_ZN3foo").mangled);
}

TEST(Demangle, CutsAHugeName) {
  const std::string plain(100'000, 'a');
  EXPECT_EQ(Demangle(plain).name.size(), kMaxNameBytes);
  EXPECT_TRUE(Demangle(plain).name.ends_with("..."));
  const std::string cxx = "_Z" + std::to_string(90'000) + std::string(90'000, 'b') + "v";
  EXPECT_EQ(Demangle(cxx).name.size(), kMaxNameBytes);
}

TEST(Demangle, AnswersDeeplyNestedNamesWithoutEndOfStack) {
  for (const char* unit : {"P",  "N",  "I",  "F",  "A_", "M",  "Z",  "X",  "J",  "T", "L",
                           "RP", "cv", "dt", "IN", "ZN", "DO", "Dp", "sr", "il", "tl"}) {
    std::string name = "_Z1f";
    while (name.size() + 2 < kMaxMangledBytes) name += unit;
    EXPECT_FALSE(Demangle(name).name.empty()) << unit;
    std::string rust = "_RNvM";
    while (rust.size() + 2 < kMaxMangledBytes) rust += unit;
    EXPECT_FALSE(Demangle(rust).name.empty()) << unit;
  }
}

// Each line doubles the one before it: printed in full, the name would take 2^60 bytes.
TEST(Demangle, DoesNotExpandSubstitutionsThatDouble) {
  std::string cxx = "_ZN1AIiiE";
  for (int i = 0; i < 60; ++i) {
    cxx += "1BI" + std::string(i == 0 ? "S_" : "S" + std::to_string(i % 10) + "_") + "S_E";
  }
  cxx += "1fEv";
  std::string rust = "_RNvM1aTuuE";
  std::string tuple = "TTuuETuuEE";
  for (int i = 0; i < 40; ++i)
    tuple = "TB" + std::string(1, static_cast<char>('0' + i % 10)) + "_" + tuple + "E";
  rust = "_RNvMC1a" + tuple + "1f";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_LE(Demangle(cxx).name.size(), kMaxNameBytes);
  EXPECT_LE(Demangle(rust).name.size(), kMaxNameBytes);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST(Demangle, SurvivesEveryTruncationAndManyMutationsOfRealNames) {
  std::mt19937 random(1);
  for (const auto& cases : {std::vector<Case>(std::begin(kCxx), std::end(kCxx)),
                            std::vector<Case>(std::begin(kRust), std::end(kRust))}) {
    for (const Case& original : cases) {
      const std::string whole = original.mangled;
      for (size_t length = 0; length <= whole.size(); ++length) {
        EXPECT_LE(Demangle(whole.substr(0, length)).name.size(), kMaxNameBytes);
      }
      for (int i = 0; i < 300; ++i) {
        std::string name = whole;
        for (int k = 0; k < 2; ++k)
          name[random() % name.size()] = static_cast<char>(' ' + random() % 95);
        EXPECT_LE(Demangle(name).name.size(), kMaxNameBytes + 4);
      }
    }
  }
}

TEST(RustLegacy, IsToldFromCxxByItsHash) {
  EXPECT_TRUE(IsRustLegacy("_ZN4core3fmt17h0123456789abcdefE"));
  EXPECT_FALSE(IsRustLegacy("_ZN4core3fmt17h0123456789abcdegE"));
  EXPECT_FALSE(IsRustLegacy("_ZN4core3fmtE"));
}

}  // namespace
}  // namespace hotpath
