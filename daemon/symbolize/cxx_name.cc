// Short names from LLVM's parse tree of a C++ name; template arguments are never printed.
#include "daemon/symbolize/cxx_name.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "llvm/Demangle/ItaniumDemangle.h"

namespace hotpath {
namespace {

namespace itanium = llvm::itanium_demangle;

// Nodes of one name, freed together.
class NodeArena {
 public:
  void reset() {
    blocks_.clear();
    used_ = kBlockBytes;
  }
  template <typename T, typename... Args>
  T* makeNode(Args&&... args) {
    return new (Allocate(sizeof(T))) T(std::forward<Args>(args)...);
  }
  void* allocateNodeArray(size_t count) { return Allocate(sizeof(itanium::Node*) * count); }

 private:
  static constexpr size_t kBlockBytes = 4096;
  static constexpr size_t kAlignment = 16;  // What operator new gives.
  using Block = std::unique_ptr<std::byte[]>;

  void* Allocate(size_t bytes) {
    bytes = (bytes + kAlignment) / kAlignment * kAlignment;  // Never 0.
    if (bytes > kBlockBytes / 2) return blocks_.insert(blocks_.begin(), NewBlock(bytes))->get();
    if (used_ + bytes > kBlockBytes) {
      blocks_.push_back(NewBlock(kBlockBytes));
      used_ = 0;
    }
    void* place = blocks_.back().get() + used_;
    used_ += bytes;
    return place;
  }
  static Block NewBlock(size_t bytes) { return std::make_unique_for_overwrite<std::byte[]>(bytes); }

  std::vector<Block> blocks_;  // The last one is being filled.
  size_t used_ = kBlockBytes;
};

// LLVM's parser, made safe for hostile names. It recurses once or twice a byte: here its depth is
// bounded. And its lists of template parameters (LLVM 14) can be cleared by a nested name while an
// outer one still uses them, which reads freed memory: here nothing is kept in them.
class BoundedParser : public itanium::AbstractManglingParser<BoundedParser, NodeArena> {
 public:
  using Base = itanium::AbstractManglingParser<BoundedParser, NodeArena>;
  // How a name of something in a type that depends on a parameter is written: after a type as the
  // ABI allows there, or, as g++ does, after any type, which may be referred to later.
  enum class Unresolved { kAbi, kGcc };

  BoundedParser(std::string_view mangled, Unresolved unresolved)
      : Base(mangled.data(), mangled.data() + mangled.size()), unresolved_(unresolved) {}

  // Called by Base for every construct that can hold itself.
  itanium::Node* parseEncoding() {
    return Deeper([this] { return Base::parseEncoding(); });
  }
  itanium::Node* parseName(NameState* state = nullptr) {
    return Deeper([this, state] { return Base::parseName(state); });
  }
  itanium::Node* parseType() {
    return Deeper([this] { return Base::parseType(); });
  }
  itanium::Node* parseExpr() {
    return Deeper([this] { return Base::parseExpr(); });
  }
  itanium::Node* parseTemplateArg() {
    return Deeper([this] { return Base::parseTemplateArg(); });
  }
  itanium::Node* parseTemplateParamDecl() {
    return Deeper([this]() -> itanium::Node* {
      if (consumeIf("Ty")) return make<itanium::NameType>("T");
      if (consumeIf("Tn")) return parseType();
      if (consumeIf("Tp")) return parseTemplateParamDecl();
      if (!consumeIf("Tt")) return nullptr;
      while (!consumeIf('E')) {
        if (parseTemplateParamDecl() == nullptr) return nullptr;
      }
      return make<itanium::NameType>("T");
    });
  }

  // A parameter is printed as "T": arguments are not, so it need not be looked up.
  itanium::Node* parseTemplateArgs(bool = false) {
    // In a conversion operator's type, Base forbids arguments even within arguments.
    const bool outer = std::exchange(TryToParseTemplateArgs, true);
    itanium::Node* arguments = Base::parseTemplateArgs(false);
    TryToParseTemplateArgs = outer;
    return arguments;
  }
  itanium::Node* parseUnresolvedName() {
    if (unresolved_ == Unresolved::kAbi || !consumeIf("sr")) return Base::parseUnresolvedName();
    itanium::Node* scope = parseType();
    itanium::Node* name = scope != nullptr ? parseBaseUnresolvedName() : nullptr;
    return name != nullptr ? make<itanium::QualifiedName>(scope, name) : nullptr;
  }
  itanium::Node* parseTemplateParam() {
    if (!consumeIf('T')) return nullptr;
    size_t number = 0;
    if (consumeIf('L') && (parsePositiveInteger(&number) || !consumeIf('_'))) return nullptr;
    if (!consumeIf('_') && (parsePositiveInteger(&number) || !consumeIf('_'))) return nullptr;
    return make<itanium::NameType>("T");
  }
  itanium::Node* parseUnnamedTypeName(NameState* state) {
    if (!consumeIf("Ul")) return look(1) == 'l' ? nullptr : Base::parseUnnamedTypeName(state);
    while (look() == 'T' && std::string_view("yptn").contains(look(1))) {
      if (parseTemplateParamDecl() == nullptr) return nullptr;
    }
    if (!consumeIf("vE")) {
      do {
        if (parseType() == nullptr) return nullptr;
      } while (!consumeIf('E'));
    }
    const itanium::StringView count = parseNumber();
    if (!consumeIf('_')) return nullptr;
    return make<itanium::ClosureTypeName>(itanium::NodeArray(), itanium::NodeArray(), count);
  }
  itanium::Node* parseExprPrimary() {
    if (look() != 'L' || look(1) != 'U') return Base::parseExprPrimary();
    ++First;
    itanium::Node* type = parseUnnamedTypeName(nullptr);
    return type != nullptr && consumeIf('E') ? make<itanium::LambdaExpr>(type) : nullptr;
  }

 private:
  static constexpr int kMaxDepth = 512;

  template <typename Parse>
  itanium::Node* Deeper(Parse parse) {
    if (depth_ >= kMaxDepth) return nullptr;
    ++depth_;
    itanium::Node* node = parse();
    --depth_;
    return node;
  }

  const Unresolved unresolved_;
  int depth_ = 0;
};

std::string_view View(llvm::itanium_demangle::StringView text) {
  return {text.begin(), static_cast<size_t>(text.end() - text.begin())};
}

// Prints the names of a parse tree and nothing else. Bounded in depth, nodes and output: shared
// sub-trees would otherwise let a short name print without end.
class NamePrinter {
 public:
  explicit NamePrinter(size_t max_bytes) : max_bytes_(max_bytes) {}

  std::string Print(const itanium::Node* node) {
    Visit(node);
    return std::move(out_);
  }

 private:
  static constexpr int kMaxDepth = 256;
  static constexpr int kMaxNodes = 4096;

  void Visit(const itanium::Node* node) {
    if (node == nullptr || ++nodes_ > kMaxNodes || depth_ >= kMaxDepth ||
        out_.size() > max_bytes_) {
      return;
    }
    ++depth_;
    node->visit([this](const auto* concrete) { Name(concrete); });
    --depth_;
  }
  void Append(std::string_view text) { out_ += text; }

  void Name(const itanium::NameType* node) { Append(View(node->getName())); }
  void Name(const itanium::NestedName* node) {
    node->match([this](const auto* qualifier, const auto* name) { Scoped(qualifier, name); });
  }
  void Name(const itanium::QualifiedName* node) {
    node->match([this](const auto* qualifier, const auto* name) { Scoped(qualifier, name); });
  }
  void Name(const itanium::LocalName* node) {
    node->match([this](const auto* encoding, const auto* entity) { Scoped(encoding, entity); });
  }
  void Name(const itanium::StdQualifiedName* node) {
    Append("std::");
    node->match([this](const auto* child) { Visit(child); });
  }
  void Name(const itanium::NameWithTemplateArgs* node) {
    node->match([this](const auto* name, const auto*) { Visit(name); });
  }
  void Name(const itanium::FunctionEncoding* node) { Visit(node->getName()); }
  void Name(const itanium::AbiTagAttr* node) {
    node->match([this](const auto* base, auto) { Visit(base); });
  }
  void Name(const itanium::DotSuffix* node) {
    node->match([this](const auto* prefix, auto) { Visit(prefix); });
  }
  void Name(const itanium::SpecialName* node) {
    node->match([this](auto special, const auto* child) {
      Append(View(special));
      Visit(child);
    });
  }
  void Name(const itanium::SpecialSubstitution* node) {
    Append("std::");
    Append(View(node->getBaseName()));
  }
  void Name(const itanium::ExpandedSpecialSubstitution* node) {
    Append("std::");
    Append(View(node->getBaseName()));
  }
  void Name(const itanium::CtorDtorName* node) {
    node->match([this](const auto* base, bool is_destructor, int) {
      if (is_destructor) Append("~");
      Append(View(base->getBaseName()));
    });
  }
  void Name(const itanium::DtorName* node) {
    Append("~");
    node->match([this](const auto* base) { Visit(base); });
  }
  void Name(const itanium::ConversionOperatorType* node) {
    Append("operator ");
    node->match([this](const auto* type) { Visit(type); });
  }
  void Name(const itanium::LiteralOperator* node) {
    Append("operator\"\" ");
    node->match([this](const auto* name) { Visit(name); });
  }
  void Name(const itanium::ClosureTypeName* node) {
    node->match([this](auto, auto, auto count) { Numbered("{lambda#", View(count)); });
  }
  void Name(const itanium::UnnamedTypeName* node) {
    node->match([this](auto count) { Numbered("{unnamed#", View(count)); });
  }
  // Types, for conversion operators.
  void Name(const itanium::PointerType* node) {
    node->match([this](const auto* pointee) { Visit(pointee); });
    Append("*");
  }
  void Name(const itanium::ReferenceType* node) {
    node->match([this](const auto* pointee, auto kind) {
      Visit(pointee);
      Append(kind == itanium::ReferenceKind::LValue ? "&" : "&&");
    });
  }
  void Name(const itanium::QualType* node) {
    node->match([this](const auto* child, auto qualifiers) {
      Visit(child);
      if (qualifiers & itanium::QualConst) Append(" const");
    });
  }
  void Name(const itanium::PostfixQualifiedType* node) {
    node->match([this](const auto* type, auto) { Visit(type); });
  }
  void Name(const itanium::ElaboratedTypeSpefType* node) {
    node->match([this](auto, const auto* child) { Visit(child); });
  }
  // What is left are expressions, function and array types, and names of data.
  void Name(const itanium::Node*) { Append("..."); }

  void Scoped(const itanium::Node* scope, const itanium::Node* name) {
    Visit(scope);
    Append("::");
    Visit(name);
  }
  // The mangling leaves out the first number and counts the second as 0.
  void Numbered(std::string_view prefix, std::string_view count) {
    uint32_t number = 0;
    for (const char c : count.substr(0, 8)) number = number * 10 + static_cast<uint32_t>(c - '0');
    Append(prefix);
    Append(std::to_string(count.empty() ? 1 : number + 2));
    Append("}");
  }

  const size_t max_bytes_;
  std::string out_;
  int depth_ = 0;
  int nodes_ = 0;
};

}  // namespace

std::optional<std::string> DemangleCxx(std::string_view mangled, size_t max_bytes) {
  if (!mangled.starts_with("_Z") && !mangled.starts_with("__Z")) return std::nullopt;
  for (const std::string_view clone : {"_ZGTt", "_ZGTn"}) {  // Of transactional memory.
    if (!mangled.starts_with(clone) || mangled.substr(clone.size()).starts_with("GT")) continue;
    const auto name =
        DemangleCxx(std::string("_Z").append(mangled.substr(clone.size())), max_bytes);
    if (!name) return std::nullopt;
    return (clone.back() == 't' ? "transaction clone for " : "non-transaction clone for ") + *name;
  }
  for (const auto unresolved : {BoundedParser::Unresolved::kAbi, BoundedParser::Unresolved::kGcc}) {
    BoundedParser parser(mangled, unresolved);
    const itanium::Node* root = parser.parse();
    if (root == nullptr) continue;
    std::string name = NamePrinter(max_bytes).Print(root);
    if (!name.empty()) return name;
  }
  return std::nullopt;
}

}  // namespace hotpath
