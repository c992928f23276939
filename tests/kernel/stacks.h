// A profile as the tests read it: stacks of named frames, and patterns they must match.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "exporters/pprof/profile.h"

namespace hotpath::kernel_tests {

struct FrameView {
  std::string function;
  std::string file;     // Source file; empty where unknown.
  std::string mapping;  // Basename of the mapping's file, or "[kernel.kallsyms]", "[vdso]", ...
  int64_t line = 0;
  bool kernel = false;     // A kernel frame.
  bool synthetic = false;  // "[truncated: ...]" and "[lost: ...]".
  bool inlined = false;    // Has no frame of its own: the next one holds it.
};

// One sample: its frames leaf first, inlined functions as frames of their own.
struct StackView {
  std::vector<FrameView> frames;
  int64_t samples = 0;
  int64_t cpu_ns = 0;
  int64_t pid = 0, tid = 0;
  std::string comm, process, exe;
  std::string cut;    // The `stack` label: why the walk did not reach the root.
  bool lost = false;  // Stands for samples that are missing.
};

// All stacks of a profile. Labels and sample types are those of a CPU profile.
std::vector<StackView> ReadStacks(const pprof::Profile& profile);

using Selector = std::function<bool(const StackView&)>;
Selector OfPid(int64_t pid);
Selector OfExe(std::string_view names);  // By the executable's name: globs, "a|b".
Selector WithFrame(std::string name);    // Any frame of that name (a glob).
Selector WithLeaf(std::string name);     // The innermost frame that is not the kernel's.
Selector Both(Selector first, Selector second);

// Callers of main and of threads in a glibc program. glibc's own names come from libc6-dbg; where
// it is not installed its frames are "libc.so.6+0x...".
inline constexpr char kFromMain[] =
    "main <- __libc_start_call_main|libc.so.6+0x* <- __libc_start_main*|libc.so.6+0x* <- _start";
inline constexpr char kFromThread[] = "start_thread|libc.so.6+0x* <- *clone3|libc.so.6+0x*";

// `leaf <- caller <- ... <- root`. An element is a glob ("deep*"), alternatives ("a|b"), either of
// them repeated ("a{40}", "a{380,}", "a{0,1}"), "..." (any number of frames), or "[kernel]" (one
// or more kernel frames). Kernel frames on top are ignored where the pattern names none.
bool Matches(const StackView& stack, std::string_view pattern);

// Share of samples, of those selected. 0 when none is.
double Share(const std::vector<StackView>& stacks, const Selector& of, const Selector& that);
int64_t Samples(const std::vector<StackView>& stacks, const Selector& of);
int64_t CpuNs(const std::vector<StackView>& stacks, const Selector& of);
bool IsComplete(const StackView& stack);  // Not cut, not lost.
// Share of frames that have a name: no "+0x", not synthetic.
double NamedShare(const std::vector<StackView>& stacks, const Selector& of);

// A file met for the first time is walked without its table until the worker that builds it got a
// CPU: so much CPU time with that mark is left out of account below, for these tests are about
// rules, on machines that others load, too. More than that counts as what it is.
inline constexpr int64_t kPendingAllowanceNs = 100'000'000;

// At least `min_samples` samples are selected, and `min_share` of them match one of the patterns.
// The failure prints the offending stacks, most frequent first.
testing::AssertionResult StacksMatch(const std::vector<StackView>& stacks, const Selector& of,
                                     const std::vector<std::string>& patterns, double min_share,
                                     int64_t min_samples = 60);
// The same for any condition (`what` reads "N of M samples ...") and without the allowance; for
// completeness, with it; and that no sample was lost.
testing::AssertionResult StacksHold(const std::vector<StackView>& stacks, const Selector& of,
                                    const Selector& that, double min_share, std::string_view what,
                                    int64_t min_samples = 60);
testing::AssertionResult StacksComplete(const std::vector<StackView>& stacks, const Selector& of,
                                        double min_share, int64_t min_samples = 60);
testing::AssertionResult NothingLost(const std::vector<StackView>& stacks);

// "leaf <- caller <- ... <- root", long ones cut in the middle.
std::string Print(const StackView& stack);

}  // namespace hotpath::kernel_tests
