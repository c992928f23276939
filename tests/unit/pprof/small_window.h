// A window of two processes that shows every kind of frame and one loss.
#pragma once

#include "daemon/profile/window.h"

namespace hotpath::pprof {

inline const ProcessKey kRedis{.pid = 41, .start_time_ns = 1000};
inline const ProcessKey kJava{.pid = 52, .start_time_ns = 2000};

inline std::unique_ptr<Window> SmallWindow() {
  WindowBuilder builder(CpuProfileType(100));
  Window& window = builder.window();
  window.start_unix_ns = 1'700'000'000'000'000'000;
  window.duration_ns = 10'000'000'000;
  window.hz = 100;
  window.cpu_seconds_kernel = 1.25;
  const auto add = [&](int times, ProcessKey process, const char* comm, std::vector<Frame> frames,
                       WalkEnd end = WalkEnd::kComplete, FileId failed = {}) {
    hotpath::Sample sample{.time_ns = 1,
                           .value = 10'000'000,
                           .process = process,
                           .tid = process.pid + 1,
                           .cgroup_id = 9,
                           .walk_end = end,
                           .failed_file = failed,
                           .comm = comm,
                           .process_name = process.pid == 41 ? "redis-server" : "java",
                           .frames = std::move(frames)};
    for (int i = 0; i < times; ++i) builder.Add(sample);
  };
  const FileId one{1}, two{2}, stripped{3};
  add(6, kRedis, "io_thd_1", {Frame::File(two, 0x1010), Frame::File(one, 0x110)});
  add(2, kRedis, "io_thd_1",
      {Frame::Kernel(0xffffffff81000010), Frame::File(two, 0x20), Frame::File(one, 0x110)});
  add(1, kRedis, "io_thd_1", {Frame::File(stripped, 0x30), TruncatedFrame(WalkEnd::kNoRule)},
      WalkEnd::kNoRule, stripped);
  add(1, kJava, "C2 Compiler", {Frame::Anonymous(0x7f0000001000), Frame::File(two, 0x20)});
  window.processes[kRedis] = {
      .exe = "/bin/one", .cgroup = "/system.slice/redis.service", .uid = 106, .user = "redis"};
  window.lost[static_cast<size_t>(Loss::kThrottled)] = {.samples = 3, .value = 30'000'000};
  return builder.Close();
}

}  // namespace hotpath::pprof
