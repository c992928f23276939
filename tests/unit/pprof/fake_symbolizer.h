// Names for frames, without files: offset 0x110 of file 1 is "f1::call11<int>(char)" of /bin/one.
#pragma once

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <vector>

#include "daemon/symbolize/symbolizer.h"

namespace hotpath::pprof {

// Names every function after its file and offset / 16; file 3 has no names and no lines, the
// offsets of file 2 past 0x1000 are inlined into "outer". Counts what it is asked.
class FakeSymbolizer : public Symbolizer {
 public:
  std::vector<SymbolizedFrame> Symbolize(const ProcessKey& process,
                                         std::span<const Frame> frames) override {
    const std::lock_guard lock(mutex_);
    ++calls;
    frames_asked += frames.size();
    std::vector<SymbolizedFrame> named;
    for (const Frame frame : frames) named.push_back(Name(process, frame));
    return named;
  }

  size_t calls = 0;
  size_t frames_asked = 0;

 private:
  SymbolizedFrame Name(const ProcessKey& process, Frame frame) {
    if (frame.kind() == FrameKind::kKernel) {
      return Named("do_syscall_64", frame.address(),
                   {.file = "[kernel.kallsyms]", .build_id = "ff"});
    }
    if (frame.kind() == FrameKind::kAnonymous) {
      return Named(fmt::format("jit{}", process.pid), frame.address(),
                   {.file = "[jit]", .build_id = {}});
    }
    const uint32_t file = frame.file().value;
    const uint64_t address = frame.offset() + 0x400000;
    if (file == 3) {
      return Named(fmt::format("stripped+{:#x}", address), address,
                   {.file = "/usr/lib/stripped", .build_id = "0c"});
    }
    SymbolizedFrame named{
        .address = address,
        .mapping = Shared({.file = file == 1 ? "/bin/one" : "/lib/two.so",
                           .build_id = fmt::format("ab{:02x}", file),
                           .table = "eh_frame",
                           .table_rows = 100 * file}),
        .named = true,
        .lines = {{.function = fmt::format("f{}::call{}", file, frame.offset() / 16),
                   .system_function = fmt::format("_ZN2f{}4call{}Ev", file, frame.offset() / 16),
                   .file = fmt::format("/src/f{}.cc", file),
                   .line = static_cast<int64_t>(frame.offset()),
                   .start_line = 1}}};
    if (file == 2 && frame.offset() > 0x1000) {
      named.lines.push_back({.function = "outer",
                             .system_function = "outer",
                             .file = "/src/f2.cc",
                             .line = 7,
                             .start_line = 5});
    }
    return named;
  }

  SymbolizedFrame Named(const std::string& name, uint64_t address, const MappingInfo& info) {
    return {.address = address,
            .mapping = Shared(info),
            .named = true,
            .lines = {{.function = name, .system_function = name, .file = {}}}};
  }

  std::shared_ptr<const MappingInfo> Shared(const MappingInfo& info) {
    auto& shared = mappings_[info];
    if (!shared) shared = std::make_shared<const MappingInfo>(info);
    return shared;
  }

  std::mutex mutex_;
  std::map<MappingInfo, std::shared_ptr<const MappingInfo>> mappings_;
};

}  // namespace hotpath::pprof
