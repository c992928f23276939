// Entry paths, checked against every branch that could land on them.
#include "daemon/placement/place_functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "daemon/placement/branches.h"
#include "daemon/placement/entry_path.h"
#include "daemon/placement/instruction.h"

namespace hotpath {
namespace {

// A function under way.
struct Draft {
  ProbedFunction function;
  EntryPath path;
  FunctionBranches branches;
  std::optional<Candidate> first, second;
};

bool Holds(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

void Refuse(ProbedFunction& function, std::string why) {
  function.site = {};
  function.site.why = std::move(why);
  function.second.reset();
}

// One draft for each address, in the order of the table of symbols.
std::vector<Draft> GroupByAddress(const std::vector<NamedFunction>& functions,
                                  std::vector<const NamedFunction*>& firsts) {
  std::vector<Draft> drafts;
  std::map<std::pair<uint64_t, bool>, size_t> at;
  for (const AllocatorSymbol& symbol : AllocatorSymbols()) {
    for (const NamedFunction& named : functions) {
      if (named.name != symbol.name) continue;
      const auto [found, is_new] = at.try_emplace({named.address, named.indirect}, drafts.size());
      if (is_new) {
        Draft draft;
        draft.function.call = symbol.call;
        draft.function.name = named.name;
        draft.function.address = named.address;
        drafts.push_back(std::move(draft));
        firsts.push_back(&named);
      }
      ProbedFunction& function = drafts[found->second].function;
      function.exported = function.exported || named.exported;
      const bool known = function.name == named.name || Holds(function.aliases, named.name);
      if (!known) function.aliases.push_back(named.name);
    }
  }
  return drafts;
}

// Why only the entry itself may bear a probe; empty when others may too.
std::string EntryOnly(const Draft& draft) {
  if (!draft.branches.whole) return "how the whole function branches is not known";
  if (draft.branches.jumps_by_table) return "the function jumps by a table";
  return {};
}

// The first of `landings` in (entry, site].
std::optional<uint64_t> LandingBefore(const Draft& draft, const ProbeSite& site,
                                      const std::vector<uint64_t>& landings) {
  for (const std::vector<uint64_t>* list : {&landings, &draft.branches.inside}) {
    for (const uint64_t target : *list) {
      if (target > draft.function.address && target <= site.address) return target;
    }
  }
  return std::nullopt;
}

// Takes the first candidate and the one of the pair, before it is known what lands on them.
void Choose(Draft& draft) {
  const std::vector<Candidate>& candidates = draft.path.candidates;
  if (candidates.empty()) return;
  draft.first = candidates[0];
  if (candidates.size() > 1 && !candidates[1].is_call &&
      candidates[1].index - candidates[0].index <= ProbeRules::kMaxPairInstructions) {
    draft.second = candidates[1];
  }
}

// The last resort: the entry, single-stepped.
void StepEntryOrRefuse(Draft& draft, const std::string& why) {
  ProbedFunction& function = draft.function;
  if (draft.path.entry && draft.path.entry->probe_class == ProbeClass::kStepped) {
    function.site = *draft.path.entry;
    function.site.why = why;
    function.second.reset();
  } else {
    Refuse(function, why);
  }
}

void Decide(Draft& draft, const std::vector<uint64_t>& landings) {
  ProbedFunction& function = draft.function;
  if (!draft.first) {
    StepEntryOrRefuse(draft, "no emulated instruction before that: " + draft.path.end);
    return;
  }
  std::string entry_only = EntryOnly(draft);
  const uint64_t entry = function.address;
  const auto refusal = [&](const ProbeSite& site) -> std::string {
    if (site.at_entry) return {};
    if (!entry_only.empty()) return entry_only;
    const auto landing = LandingBefore(draft, site, landings);
    return landing ? fmt::format("a branch lands at +{:#x}", *landing - entry) : std::string();
  };
  if (const std::string why = refusal(draft.first->site); !why.empty()) {
    StepEntryOrRefuse(draft, why);
    return;
  }
  function.site = std::move(draft.first->site);
  if (draft.second && refusal(draft.second->site).empty()) {
    function.second = std::move(draft.second->site);
  }
}

// Keeps the bytes up to the end of the last site.
void KeepCode(const ProgramCode& code, ProbedFunction& function) {
  if (function.site.probe_class == ProbeClass::kRefused) return;
  const uint64_t last = function.second ? function.second->address : function.site.address;
  const auto instruction = DecodeFlow(code.At(last, ProbeRules::kMaxInstructionBytes), last);
  if (!instruction) return Refuse(function, "its last site does not decode again");
  const auto bytes = code.At(function.address, last + instruction->bytes - function.address);
  function.code.assign(bytes.begin(), bytes.end());
}

// The windows that no branch may land in.
std::vector<Window> WindowsOf(const std::vector<Draft>& drafts) {
  std::vector<Window> windows;
  for (const Draft& draft : drafts) {
    const auto& last = draft.second ? draft.second : draft.first;
    if (!last || last->site.at_entry) continue;
    windows.push_back({draft.function.address + 1, last->site.address});
  }
  return windows;
}

// `name@plt` where a stub leads to a function of the table, a name of the list, or nothing.
std::string NameOfEntered(const ProgramCode& code, uint64_t address,
                          const std::vector<Draft>& drafts) {
  for (const Draft& draft : drafts) {
    if (draft.function.address == address) return draft.function.name;
  }
  const std::string_view stub = code.StubAt(address);
  return IsAllocatorSymbol(stub) ? fmt::format("{}@plt", stub) : std::string();
}

void FindEntered(const ProgramCode& code, std::vector<Draft>& drafts) {
  std::vector<uint64_t> entries;
  for (const Draft& draft : drafts) entries.push_back(draft.function.address);
  for (Draft& draft : drafts) {
    if (draft.function.address == 0) continue;
    for (const uint64_t address : EntersOf(code, draft.function.address, entries, 1)) {
      std::string name = NameOfEntered(code, address, drafts);
      std::vector<std::string>& enters = draft.function.enters;
      if (name.empty() || name == draft.function.name || Holds(enters, name)) continue;
      enters.push_back(std::move(name));
    }
  }
}

}  // namespace

std::vector<ProbedFunction> PlaceFunctions(const ProgramCode& code,
                                           const std::vector<NamedFunction>& functions) {
  std::vector<const NamedFunction*> named;
  std::vector<Draft> drafts = GroupByAddress(functions, named);
  for (size_t i = 0; i < drafts.size(); ++i) {
    Draft& draft = drafts[i];
    const uint64_t entry = draft.function.address;
    if (named[i]->indirect || !code.OffsetOf(entry)) {
      draft.function.address = 0;
      Refuse(draft.function, named[i]->indirect ? "an indirect function: chosen at load time"
                                                : "its address is not in the code");
      continue;
    }
    uint64_t bytes = named[i]->bytes;
    const CodeExtent* extent = code.ExtentOf(entry);
    if (bytes == 0 && extent != nullptr && extent->begin == entry) bytes = extent->end - entry;
    draft.branches = ReadBranches(code, entry, bytes);
    const uint64_t limit = std::min(bytes == 0 ? UINT64_MAX : bytes, ProbeRules::kMaxBytes);
    draft.path = FollowEntry(code, entry, entry + limit, draft.function.call);
    Choose(draft);
  }
  const std::vector<uint64_t> landings = LandingsIn(code, WindowsOf(drafts));
  for (Draft& draft : drafts) {
    if (draft.function.address == 0) continue;
    Decide(draft, landings);
    KeepCode(code, draft.function);
  }
  FindEntered(code, drafts);
  std::vector<ProbedFunction> placed;
  placed.reserve(drafts.size());
  for (Draft& draft : drafts) placed.push_back(std::move(draft.function));
  return placed;
}

}  // namespace hotpath
