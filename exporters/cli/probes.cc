// From placements to the rows that people read.
#include "exporters/cli/probes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "daemon/allocators/allocator_finder.h"
#include "daemon/base/fd.h"
#include "daemon/files/file_worker.h"

namespace hotpath::cli {
namespace {

ProbeRow RowOf(const ProbedFunction& function) {
  ProbeRow row;
  row.function = function.name;
  row.aliases = function.aliases;
  row.enters = function.enters;
  row.probe_class = NameOf(function.site.probe_class);
  row.why = function.site.why;
  if (function.site.probe_class == ProbeClass::kRefused) return row;
  row.offset = function.site.offset;
  row.instruction = function.site.instruction;
  for (const ProbeArgument& argument : function.site.arguments) {
    row.arguments.push_back(fmt::format("{}={}", NameOf(argument.role), NameOf(argument.place)));
  }
  if (function.second) {
    row.pair_offset = function.second->offset;
    row.pair_instruction = function.second->instruction;
  }
  return row;
}

ProbeTable TableOf(std::string file, const Placement& placement) {
  ProbeTable table;
  table.file = std::move(file);
  table.build_id = placement.build_id;
  table.allocator = placement.allocator;
  for (const ProbedFunction& function : placement.functions) {
    table.rows.push_back(RowOf(function));
  }
  return table;
}

Result<std::vector<ProbeTable>> OfFile(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return FailErrno("open " + path);
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return FailErrno("fstat " + path);
  if (!S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument,
                path + " is no regular file: name a program or library");
  }
  FileWorker files;
  const auto placement = files.Place(fd.get());
  if (!placement) return Fail(placement.error().code, path + ": " + placement.error().message);
  return std::vector{TableOf(path, *placement)};
}

Result<std::vector<ProbeTable>> OfProcess(uint32_t pid) {
  FileWorker files;
  AllocatorFinder finder(files);
  const auto found = finder.Find(pid);
  if (!found) return std::unexpected(found.error());
  std::vector<ProbeTable> tables;
  for (const ProcessAllocator& allocator : *found) {
    ProbeTable table = TableOf(allocator.path, allocator.placement);
    table.live = allocator.live;
    table.why = allocator.why;
    for (size_t i = 0; i < table.rows.size(); ++i) {
      const ProbedFunction& function = allocator.placement.functions[i];
      if (function.site.probe_class == ProbeClass::kRefused) continue;
      const auto same = finder.VerifyMapped(pid, allocator, function);
      if (same) continue;
      ProbeRow refused;
      refused.function = function.name;
      refused.aliases = function.aliases;
      refused.probe_class = NameOf(ProbeClass::kRefused);
      refused.why = same.error().message;
      table.rows[i] = std::move(refused);
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

}  // namespace

Result<std::vector<ProbeTable>> FindProbes(const ProbeTarget& target) {
  return target.pid ? OfProcess(*target.pid) : OfFile(target.file);
}

}  // namespace hotpath::cli
