// Rust's v0 grammar (RFC 2603), read for its paths only.
#include "daemon/symbolize/rust_v0.h"

#include <array>
#include <cstdint>

namespace hotpath {
namespace {

constexpr int kMaxDepth = 128;
constexpr int kMaxSteps = 20'000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); }
bool IsIdentifier(char c) { return IsDigit(c) || IsLower(c | 0x20) || c == '_'; }

// Reads one v0 name. `out_` grows only while `quiet_` is 0: generic arguments are read over.
class V0Parser {
 public:
  V0Parser(std::string_view text, size_t max_bytes) : text_(text), max_bytes_(max_bytes) {}

  std::optional<std::string> Parse() {
    Path();
    if (ok_ && at_ < text_.size() && IsUpper(Peek())) {  // The instantiating crate.
      ++quiet_;
      Path();
    }
    if (!ok_ || out_.empty() || (at_ < text_.size() && Peek() != '.')) return std::nullopt;
    return std::move(out_);
  }

 private:
  struct Identifier {
    std::string_view name;
    bool punycode = false;
    uint64_t disambiguator = 0;
  };

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  char Next() {
    if (at_ < text_.size()) return text_[at_++];
    ok_ = false;
    return '\0';
  }
  bool Take(char c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }
  void Print(std::string_view text) {
    if (quiet_ == 0 && out_.size() < max_bytes_) out_ += text;
  }
  // Counts one rule of the grammar against the limits.
  bool Enter() {
    if (++steps_ > kMaxSteps || depth_ >= kMaxDepth) ok_ = false;
    return ok_;
  }

  uint64_t Base62() {
    if (Take('_')) return 0;
    uint64_t value = 0;
    while (ok_) {
      const char c = Next();
      if (c == '_') return value + 1;
      uint64_t digit = 0;
      if (IsDigit(c)) {
        digit = static_cast<uint64_t>(c - '0');
      } else if (IsLower(c)) {
        digit = static_cast<uint64_t>(c - 'a') + 10;
      } else if (IsUpper(c)) {
        digit = static_cast<uint64_t>(c - 'A') + 36;
      } else {
        ok_ = false;
      }
      if (value > (UINT64_MAX - 62) / 62) ok_ = false;
      value = value * 62 + digit;
    }
    return 0;
  }
  uint64_t OptionalBase62(char tag) { return Take(tag) ? Base62() + 1 : 0; }

  Identifier ReadIdentifier(bool disambiguated) {
    Identifier id;
    if (disambiguated) id.disambiguator = OptionalBase62('s');
    id.punycode = Take('u');
    size_t length = 0;
    if (!IsDigit(Peek())) ok_ = false;
    if (Take('0')) {
      length = 0;
    } else {
      while (IsDigit(Peek()) && length < text_.size()) {
        length = length * 10 + static_cast<size_t>(Next() - '0');
      }
    }
    Take('_');
    if (!ok_ || length > text_.size() - at_) {
      ok_ = false;
      return id;
    }
    id.name = text_.substr(at_, length);
    at_ += length;
    return id;
  }
  void PrintIdentifier(const Identifier& id) {
    if (id.punycode) Print("punycode{");
    Print(id.name);
    if (id.punycode) Print("}");
  }

  // Continues at an earlier place of the name; nothing to do while quiet.
  template <typename Rule>
  void Backref(Rule rule) {
    const size_t tag = at_ - 1;
    const uint64_t target = Base62();
    if (target >= tag) ok_ = false;
    if (!ok_ || quiet_ > 0) return;
    const size_t resume = at_;
    at_ = target;
    rule();
    at_ = resume;
  }

  void Path() {
    if (!Enter()) return;
    ++depth_;
    switch (Next()) {
      case 'C':
        PrintIdentifier(ReadIdentifier(true));
        break;
      case 'N':
        NestedPath();
        break;
      case 'M':
        ImplPath();
        SelfType();
        break;
      case 'X':
        ImplPath();
        TypeAsTrait();
        break;
      case 'Y':
        TypeAsTrait();
        break;
      case 'I':
        Path();
        ++quiet_;
        while (ok_ && !Take('E')) GenericArgument();
        --quiet_;
        break;
      case 'B':
        Backref([this] { Path(); });
        break;
      default:
        ok_ = false;
    }
    --depth_;
  }

  void NestedPath() {
    const char space = Next();
    if (!IsLower(space) && !IsUpper(space)) ok_ = false;
    Path();
    const Identifier id = ReadIdentifier(true);
    if (!IsUpper(space)) {
      if (!id.name.empty()) Print("::");
      PrintIdentifier(id);
      return;
    }
    Print("::{");
    Print(space == 'C' ? "closure" : space == 'S' ? "shim" : std::string_view(&space, 1));
    if (!id.name.empty()) Print(":");
    PrintIdentifier(id);
    Print("#" + std::to_string(id.disambiguator) + "}");
  }

  void ImplPath() {
    ++quiet_;
    OptionalBase62('s');
    Path();
    --quiet_;
  }
  // The type of an inherent impl: "Vec" of Vec::push, "<[_]>" of <[_]>::len.
  void SelfType() {
    const size_t before = out_.size();
    Type();
    if (quiet_ > 0 || !ok_ || before >= out_.size()) return;
    const char first = out_[before];
    if (!IsIdentifier(first) && first != '<') {
      out_.insert(before, "<");
      Print(">");
    }
  }
  void TypeAsTrait() {
    Print("<");
    Type();
    Print(" as ");
    Path();
    Print(">");
  }

  void GenericArgument() {
    if (Take('L')) {
      Base62();
    } else if (Take('K')) {
      Const();
    } else {
      Type();
    }
  }

  static std::string_view BasicType(char tag) {
    static constexpr std::array<std::string_view, 26> kNames = {
        "i8",    "bool", "char", "f64", "str",  "f32",  "",    "u8", "isize",
        "usize", "",     "i32",  "u32", "i128", "u128", "_",   "",   "",
        "i16",   "u16",  "()",   "...", "",     "i64",  "u64", "!"};
    return IsLower(tag) ? kNames.at(static_cast<size_t>(tag - 'a')) : std::string_view{};
  }

  void Type() {
    if (!Enter()) return;
    ++depth_;
    const char tag = Next();
    if (const std::string_view basic = BasicType(tag); !basic.empty()) {
      Print(basic);
    } else {
      CompoundType(tag);
    }
    --depth_;
  }

  void CompoundType(char tag) {
    switch (tag) {
      case 'A':
      case 'S':
        Print("[");
        Type();
        if (tag == 'A') {
          ++quiet_;
          Const();
          --quiet_;
          Print("; _");
        }
        Print("]");
        break;
      case 'T':
        Print("(");
        for (int i = 0; ok_ && !Take('E'); ++i) {
          if (i > 0) Print(", ");
          Type();
        }
        Print(")");
        break;
      case 'R':
      case 'Q':
        if (Take('L')) Base62();
        Print(tag == 'R' ? "&" : "&mut ");
        Type();
        break;
      case 'P':
      case 'O':
        Print(tag == 'P' ? "*const " : "*mut ");
        Type();
        break;
      case 'F':
        FunctionType();
        break;
      case 'D':
        DynType();
        break;
      case 'B':
        Backref([this] { Type(); });
        break;
      default:
        --at_;
        Path();
    }
  }

  void FunctionType() {
    Print("fn");
    ++quiet_;
    OptionalBase62('G');
    Take('U');
    if (Take('K') && !Take('C')) ReadIdentifier(false);
    while (ok_ && !Take('E')) Type();
    Type();
    --quiet_;
  }

  void DynType() {
    Print("dyn ");
    OptionalBase62('G');
    for (int i = 0; ok_ && !Take('E'); ++i) {
      if (i > 0) Print(" + ");
      Path();
      ++quiet_;
      while (ok_ && Take('p')) {
        ReadIdentifier(false);
        Type();
      }
      --quiet_;
    }
    if (!Take('L')) ok_ = false;
    Base62();
  }

  // Only read over: constants are never printed.
  void Const() {
    if (!Enter()) return;
    ++depth_;
    const char tag = Next();
    if (tag == 'B') {
      Backref([this] { Const(); });
    } else if (tag == 'R' || tag == 'Q') {
      if (Take('e')) {
        HexDigits();
      } else {
        Const();
      }
    } else if (tag == 'A' || tag == 'T') {
      while (ok_ && !Take('E')) Const();
    } else if (tag == 'V') {
      ConstVariant();
    } else if (tag != 'p') {
      if (BasicType(tag).empty()) ok_ = false;
      Take('n');
      HexDigits();
    }
    --depth_;
  }
  void ConstVariant() {
    Path();
    const char form = Next();
    if (form == 'T') {
      while (ok_ && !Take('E')) Const();
    } else if (form == 'S') {
      while (ok_ && !Take('E')) {
        ReadIdentifier(true);
        Const();
      }
    } else if (form != 'U') {
      ok_ = false;
    }
  }
  void HexDigits() {
    while (IsHex(Peek())) ++at_;
    if (!Take('_')) ok_ = false;
  }

  std::string_view text_;  // After "_R"; back references count from here.
  size_t max_bytes_;
  size_t at_ = 0;
  int quiet_ = 0;
  int depth_ = 0;
  int steps_ = 0;
  bool ok_ = true;
  std::string out_;
};

}  // namespace

std::optional<std::string> DemangleRustV0(std::string_view mangled, size_t max_bytes) {
  if (!mangled.starts_with("_R") || mangled.size() < 4) return std::nullopt;
  mangled.remove_prefix(2);
  if (!IsUpper(mangled[0])) return std::nullopt;  // A digit would be a later version's.
  return V0Parser(mangled, max_bytes).Parse();
}

}  // namespace hotpath
