// Writes and checks, field by field, in the order of placement.h.
#include "daemon/files/placement_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "daemon/files/worker_protocol.h"
#include "daemon/placement/instruction.h"

namespace hotpath {
namespace {

constexpr size_t kMaxFunctions = 256;
constexpr size_t kMaxNames = 64;
constexpr size_t kMaxTextBytes = 256;
constexpr uint64_t kMaxStackBytes = 1 << 20;
constexpr uint64_t kMaxCodeBytes = ProbeRules::kMaxBytes + ProbeRules::kMaxInstructionBytes;

std::unexpected<Error> Bad(std::string_view what) {
  return Fail(ErrorCode::kMalformed, fmt::format("file worker's placement: {}", what));
}

// At most kMaxTextBytes, with '?' for what is no printable ASCII.
std::string Plain(std::string text) {
  text.resize(std::min(text.size(), kMaxTextBytes));
  std::ranges::replace_if(text, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text;
}

void Write(PayloadWriter& out, const std::vector<std::string>& names) {
  out.Number(std::min(names.size(), kMaxNames));
  for (size_t i = 0; i < std::min(names.size(), kMaxNames); ++i) out.Text(names[i]);
}

void Write(PayloadWriter& out, const ProbeSite& site) {
  out.Number(site.offset);
  out.Number(site.address);
  out.Text(site.instruction);
  out.Number(static_cast<uint64_t>(site.probe_class));
  out.Number(site.sp_delta_bytes);
  out.Number(site.at_entry ? 1 : 0);
  out.Number(site.skips_idle_calls ? 1 : 0);
  out.Number(site.arguments.size());
  for (const ProbeArgument& argument : site.arguments) {
    out.Number(static_cast<uint64_t>(argument.role));
    out.Number(static_cast<uint64_t>(argument.place));
  }
  out.Text(site.why);
}

// Reads one Placement; stops at the first thing that is wrong.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : in_(bytes) {}

  Result<Placement> Read() {
    Placement placement;
    placement.allocator = Plain(in_.Text());
    placement.build_id = Plain(in_.Text());
    const uint64_t functions = in_.Count(sizeof(uint64_t));
    if (functions > kMaxFunctions) return Bad("too many functions");
    for (uint64_t i = 0; i < functions && in_.ok() && wrong_ == nullptr; ++i) {
      placement.functions.push_back(Function());
    }
    if (wrong_ != nullptr) return Bad(wrong_);
    if (!in_.AtEnd()) return Bad("it is cut, or goes on");
    return placement;
  }

 private:
  void Check(bool holds, const char* what) {
    if (!holds && wrong_ == nullptr) wrong_ = what;
  }
  // A number below `end`; else 0 and wrong.
  uint64_t Below(uint64_t end, const char* what) {
    const uint64_t value = in_.Number();
    Check(value < end, what);
    return value < end ? value : 0;
  }

  std::vector<std::string> Names() {
    std::vector<std::string> names;
    const uint64_t count = in_.Count(sizeof(uint64_t));
    Check(count <= kMaxNames, "too many names");
    for (uint64_t i = 0; i < count && wrong_ == nullptr; ++i) names.push_back(Plain(in_.Text()));
    return names;
  }

  ProbeSite Site() {
    ProbeSite site;
    site.offset = in_.Number();
    site.address = in_.Number();
    site.instruction = Plain(in_.Text());
    site.probe_class = static_cast<ProbeClass>(Below(4, "no such class of probe"));
    site.sp_delta_bytes = static_cast<uint32_t>(Below(kMaxStackBytes + 1, "a frame too large"));
    site.at_entry = in_.Number() != 0;
    site.skips_idle_calls = in_.Number() != 0;
    const uint64_t arguments = in_.Count(2 * sizeof(uint64_t));
    Check(arguments <= kArgumentRoles, "too many arguments");
    for (uint64_t i = 0; i < arguments && wrong_ == nullptr; ++i) {
      const uint64_t role = Below(kArgumentRoles, "no such argument");
      const uint64_t place = Below(kRegisters, "no such register");
      site.arguments.push_back({static_cast<ArgumentRole>(role), static_cast<Register>(place)});
    }
    site.why = Plain(in_.Text());
    return site;
  }

  ProbedFunction Function() {
    ProbedFunction function;
    function.call = static_cast<AllocatorCall>(Below(kAllocatorCalls, "no such call"));
    function.name = Plain(in_.Text());
    function.aliases = Names();
    function.address = in_.Number();
    function.exported = in_.Number() != 0;
    function.site = Site();
    if (in_.Number() != 0) function.second = Site();
    function.enters = Names();
    const std::string code = in_.Text();
    function.code.assign(code.begin(), code.end());
    CheckSites(function);
    return function;
  }

  void CheckSites(const ProbedFunction& function) {
    const ProbeSite& first = function.site;
    Check(function.code.size() <= kMaxCodeBytes, "too much code");
    if (first.probe_class == ProbeClass::kRefused) {
      Check(function.code.empty() && !function.second, "sites of a refused function");
      return;
    }
    CheckSite(function, first);
    if (!function.second) return;
    CheckSite(function, *function.second);
    Check(function.second->address > first.address, "the pair is not in order");
    Check(function.second->offset - first.offset == function.second->address - first.address,
          "offsets and addresses differ");
  }

  void CheckSite(const ProbedFunction& function, const ProbeSite& site) {
    const uint64_t at = site.address - function.address;
    if (site.address < function.address || at >= function.code.size()) {
      return Check(false, "a site outside its function");
    }
    Check(site.offset >= at, "a function before the start of the file");
    Check(site.at_entry == (at == 0), "an entry that is none");
    if (site.probe_class == ProbeClass::kStepped || site.probe_class == ProbeClass::kRefused) {
      return Check(site.probe_class == ProbeClass::kStepped && at == 0, "a stepped site inside");
    }
    const std::span<const uint8_t> rest = std::span(function.code).subspan(at);
    for (size_t bytes = 1; bytes <= std::min<size_t>(rest.size(), 6); ++bytes) {
      if (EmulatedForm(rest.first(bytes)) == site.probe_class) return;
    }
    Check(false, "a site that the kernel does not emulate");
  }

  PayloadReader in_;
  const char* wrong_ = nullptr;  // What was wrong first.
};

}  // namespace

std::string EncodePlacement(const Placement& placement) {
  PayloadWriter out;
  out.Text(placement.allocator);
  out.Text(placement.build_id);
  out.Number(placement.functions.size());
  for (const ProbedFunction& function : placement.functions) {
    out.Number(static_cast<uint64_t>(function.call));
    out.Text(function.name);
    Write(out, function.aliases);
    out.Number(function.address);
    out.Number(function.exported ? 1 : 0);
    Write(out, function.site);
    out.Number(function.second ? 1 : 0);
    if (function.second) Write(out, *function.second);
    Write(out, function.enters);
    out.Text({reinterpret_cast<const char*>(function.code.data()), function.code.size()});
  }
  return out.bytes();
}

Result<Placement> DecodePlacement(std::span<const uint8_t> bytes) { return Reader(bytes).Read(); }

}  // namespace hotpath
