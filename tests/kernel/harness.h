// Starts truth programs, records them with `hotpath record`, and keeps the kernel's own account.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/fd.h"
#include "exporters/pprof/profile.h"
#include "stacks.h"

namespace hotpath::kernel_tests {

// Path of a built truth program, and of a source in tests/workloads.
std::string WorkloadPath(const std::string& name);
std::string WorkloadSource(const std::string& name);
bool WorkloadExists(const std::string& name);

// Line number (from 1) that holds `text` in tests/workloads/`source`; -1 where none does.
int64_t LineOf(const std::string& source, const std::string& text);

// A directory of its own, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A child process with pipes to its stdin and from its stdout, in a process group of its own;
// killed with its group (SIGTERM, then SIGKILL) and reaped when it goes out of scope, and by the
// kernel when the test dies.
class ChildProcess {
 public:
  struct Options {
    std::function<bool()> before_exec;  // Runs in the child; false: give up.
    bool discard_output = false;        // stdout and stderr to /dev/null: no pipe to read.
    std::string stderr_path;            // Empty: the test's own stderr.
    std::string directory;              // Empty: the test's own.
  };
  explicit ChildProcess(std::vector<std::string> command)
      : ChildProcess(std::move(command), Options()) {}
  ChildProcess(std::vector<std::string> command, const Options& options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // The next line of stdout, without its end; empty at the end of it or after `timeout`.
  std::string ReadLine(std::chrono::seconds timeout = std::chrono::seconds(30));
  void WriteLine(const std::string& line);
  // Waits for the end: exit status, 128 + signal, or -1 after `timeout`.
  int Wait(std::chrono::seconds timeout = std::chrono::seconds(60));
  void Stop();

 private:
  pid_t pid_ = -1;   // -1: reaped.
  int status_ = -1;  // Of Wait().
  Fd stdin_, stdout_;
  std::string pending_;  // Read from stdout, not returned yet.
};

// Starts a truth program and waits for its "ready". A failure is a failure of the test.
std::unique_ptr<ChildProcess> StartWorkload(const std::string& name,
                                            const std::vector<std::string>& arguments = {});
std::unique_ptr<ChildProcess> StartAndWaitReady(std::vector<std::string> command,
                                                const ChildProcess::Options& options = {});

// Reads cumulative CPU clocks every 20 ms on a thread of its own, so that their growth over any
// interval of the past can be told afterwards, to the interval that a profile says it covers.
class CpuTimeline {
 public:
  explicit CpuTimeline(std::vector<pid_t> processes);
  ~CpuTimeline();
  CpuTimeline(const CpuTimeline&) = delete;
  CpuTimeline& operator=(const CpuTimeline&) = delete;

  // CPU time used between two Unix times, in ns. Call after Stop().
  int64_t ProcessNs(pid_t pid, int64_t from_ns, int64_t to_ns) const;
  int64_t BusyNs(int64_t from_ns, int64_t to_ns) const;  // Of all CPUs, from /proc/stat.
  // Of all threads, as the scheduler charged them to the nanosecond; 0 where cpuacct (cgroup v1) is
  // not mounted.
  int64_t ThreadsNs(int64_t from_ns, int64_t to_ns) const;
  void Stop();

 private:
  struct Reading {
    int64_t unix_ns, value_ns;
  };
  static int64_t Growth(const std::vector<Reading>& readings, int64_t from_ns, int64_t to_ns);
  void Run();

  std::vector<pid_t> processes_;
  std::map<pid_t, std::vector<Reading>> process_;
  std::vector<Reading> busy_;
  std::vector<Reading> threads_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

struct RecordOptions {
  std::vector<pid_t> pids;  // Empty: the whole machine.
  int hz = 499;
  double seconds = 2;
  std::vector<std::string> extra;  // More arguments of `hotpath record`.
  // Called once the recorder's perf events are open; when it returns, recording ends by SIGINT.
  std::function<void()> until_done;
};

struct Recording {
  pprof::Profile profile;
  std::vector<StackView> stacks;
  int64_t busy_ns = 0;                  // The kernel's account of all CPUs over the same interval.
  int64_t threads_ns = 0;               // And of all threads: see CpuTimeline.
  std::map<pid_t, int64_t> process_ns;  // And of each process of `pids`.
};

// Runs `hotpath record` and decodes what it wrote. Throws when it fails, which ends the test.
Recording Record(const RecordOptions& options);
Recording RecordProcess(pid_t pid, int hz = 499, double seconds = 2);

}  // namespace hotpath::kernel_tests
