// Descriptions and examples of each command.
#include "exporters/cli/help.h"

#include <algorithm>
#include <iterator>

namespace hotpath::cli {
namespace {

struct Entry {
  std::string_view command;
  CommandHelp help;
};

constexpr Entry kHelp[] = {
    {"record",
     {"Profile this machine, some processes or a command, without a daemon",
      R"(Needs root, or the capabilities that 'hotpath doctor' names. Without a target it records the
whole machine. With a command it ends when the command does, and exits with its status.

Examples:
  sudo hotpath record -d 30s                      the whole machine for 30 s
  sudo hotpath record -p 1234 -F 499 -o fast.pb.gz
  sudo hotpath record --exe /usr/sbin/nginx
  sudo hotpath record -o build.pb.gz -- make -j4
  sudo hotpath record -o - | hotpath top -)"}},
    {"top",
     {"The functions that cost most",
      R"(flat is the time in the function itself, cum the time in it and in all that it calls.

Examples:
  hotpath top                                     10 s of this host, from the daemon
  hotpath top -d 30s http://db1:7878              another host's
  hotpath top --cum -n 40 app.pb.gz
  hotpath top --focus 'malloc|free' app.pb.gz     only stacks that pass through them
  hotpath top --tagfocus comm=postgres --by line app.pb.gz
  hotpath top --diff-base before.pb.gz after.pb.gz)"}},
    {"list",
     {"Source code with the time spent on each line",
      R"(Left to right: flat, cum, line number, source. Sources are read from this machine.

Examples:
  hotpath list 'Parser::Next' app.pb.gz
  hotpath list main app.pb.gz --source-path ~/src/app)"}},
    {"peek",
     {"Callers and callees of the functions that match",
      R"(Callers stand above a function with their share of it, callees below.

Examples:
  hotpath peek '^memcpy' app.pb.gz
  hotpath peek 'Mutex::lock' http://db1:7878)"}},
    {"tree",
     {"Every function between its callers and its callees",
      R"(Examples:
  hotpath tree --cum -n 30 app.pb.gz
  hotpath tree --focus 'db::' app.pb.gz)"}},
    {"traces",
     {"Every stack with its labels",
      R"(Leaf first, as sampled.

Examples:
  hotpath traces --tagfocus pid=1234 app.pb.gz
  hotpath traces --format json app.pb.gz | jq '.traces | length')"}},
    {"tags",
     {"How much each process, thread or container takes",
      R"(One table a label: comm, process, exe, pid, cgroup, container, ...

Examples:
  hotpath tags app.pb.gz
  hotpath tags --focus malloc app.pb.gz           who allocates)"}},
    {"raw",
     {"Every field of the profile",
      R"(As it is stored: no filter applies.

Examples:
  hotpath raw app.pb.gz
  hotpath raw --format json app.pb.gz)"}},
    {"flame",
     {"A flame graph: an SVG, or drawn in the terminal",
      R"(The root is at the top, the width of a frame is its share. In the SVG: hover for the value,
click to zoom, '/' to search, Escape to reset. --format csv prints folded stacks.

Examples:
  hotpath flame app.pb.gz                         in the terminal
  hotpath flame -o app.svg app.pb.gz
  hotpath flame --tagroot container,comm -o host.svg http://db1:7878)"}},
    {"diff",
     {"What changed between two profiles, and whether it is more than noise",
      R"(Both are brought to the new profile's duration. Each row has the 95 % interval of its change
and p, the chance of such a change without a cause; * marks rows that stand out of the whole
table (5 % false discoveries). The noise of sampling is known, that of the load is not: compare
runs of the same work.

Examples:
  hotpath diff before.pb.gz after.pb.gz
  hotpath diff --cum --format json before.pb.gz after.pb.gz
  hotpath diff -d 30s http://canary:7878 http://stable:7878)"}},
    {"quality",
     {"How good a profile is: whole stacks, named frames, losses",
      R"(A stack is complete when its walk reached the thread's first frame; a frame is named when it
has a function's name.

Examples:
  hotpath quality app.pb.gz
  hotpath quality --min-complete 0.995 --min-named 0.99 app.pb.gz    exit 3 below)"}},
    {"probes",
     {"Where probes of allocations would sit, and what they would cost",
      R"(emulated: the kernel plays the instruction itself (about 1 us); stepped: it takes a second
exception; refused: no place could be shown to be right. Nothing is attached.

Examples:
  hotpath probes /usr/lib/x86_64-linux-gnu/libc.so.6
  sudo hotpath probes -p 1234
  hotpath probes --format json ./app | jq '.probes[] | select(.class == "refused")')"}},
    {"doctor",
     {"What this host lacks for profiling, and the remedy",
      R"(Exit 1 when something required is missing. Changes nothing.

Examples:
  sudo hotpath doctor
  hotpath doctor --format json)"}},
};

}  // namespace

CommandHelp HelpOf(std::string_view command) {
  const auto* entry = std::ranges::find(kHelp, command, &Entry::command);
  return entry == std::end(kHelp) ? CommandHelp{} : entry->help;
}

}  // namespace hotpath::cli
