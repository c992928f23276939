// Allocations: programs that count what they allocate, against what windows of probes say.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>

#include "../workloads/alloc_truth.h"
#include "daemon/base/fd.h"
#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

// The counts of a running alloc_truth.
class Truth {
 public:
  explicit Truth(const std::string& path) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    void* map = mmap(nullptr, sizeof(alloc_truth), PROT_READ, MAP_SHARED, file.get(), 0);
    if (map == MAP_FAILED) throw std::runtime_error("map " + path);
    truth_ = static_cast<const alloc_truth*>(map);
  }
  ~Truth() { munmap(const_cast<alloc_truth*>(truth_), sizeof(alloc_truth)); }
  Truth(const Truth&) = delete;
  Truth& operator=(const Truth&) = delete;

  struct Reading {
    std::chrono::steady_clock::time_point time;
    double calls = 0;
    double bytes = 0;
  };
  Reading Read() const {
    Reading reading{.time = std::chrono::steady_clock::now()};
    for (const alloc_truth_thread& thread : truth_->thread) {
      for (const uint64_t& calls : thread.calls) {
        reading.calls += static_cast<double>(__atomic_load_n(&calls, __ATOMIC_RELAXED));
      }
      for (const uint64_t& bytes : thread.bytes) {
        reading.bytes += static_cast<double>(__atomic_load_n(&bytes, __ATOMIC_RELAXED));
      }
    }
    return reading;
  }

 private:
  const alloc_truth* truth_ = nullptr;
};

// The value of `key=` in a profile's comments; empty where there is none.
std::string CommentValue(const pprof::Profile& profile, const std::string& key) {
  for (const std::string& comment : profile.comments) {
    std::istringstream words(comment);
    for (std::string word; words >> word;) {
      if (word.starts_with(key + "=")) return word.substr(key.size() + 1);
    }
  }
  return "";
}

bool HasComment(const pprof::Profile& profile, const std::string& text) {
  for (const std::string& comment : profile.comments) {
    if (comment.find(text) != std::string::npos) return true;
  }
  return false;
}

// Are the process's executable mappings of libc what the file holds? A probe is a byte that is not.
bool HasNoProbe(pid_t pid) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  const Fd memory(open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
  int compared = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0, offset = 0;
    char mode[8] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx", &begin, &end, mode, &offset) != 4) continue;
    const size_t path = line.find('/');
    if (mode[2] != 'x' || path == std::string::npos || line.find("libc.so") == std::string::npos) {
      continue;
    }
    std::string mapped(end - begin, '\0');
    std::string held(end - begin, '\0');
    const Fd file(open(line.substr(path).c_str(), O_RDONLY | O_CLOEXEC));
    const ssize_t read_mapped =
        pread(memory.get(), mapped.data(), mapped.size(), static_cast<off_t>(begin));
    const ssize_t read_held =
        pread(file.get(), held.data(), held.size(), static_cast<off_t>(offset));
    if (read_mapped <= 0 || read_held <= 0) return false;
    const auto common = static_cast<size_t>(std::min(read_mapped, read_held));
    if (mapped.compare(0, common, held, 0, common) != 0) return false;
    compared++;
  }
  return compared > 0;
}

struct Measured {
  Recording recording;
  double calls = 0;  // The program's own counts over as long as the profile took.
  double bytes = 0;
};

Measured MeasureAllocs(const std::vector<std::string>& arguments, double seconds) {
  const TemporaryDirectory folder;
  std::vector<std::string> command = {"0", folder.File("truth")};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const auto program = StartWorkload("alloc_truth", command);
  const Truth truth(folder.File("truth"));
  RecordOptions options;
  options.pids = {program->pid()};
  options.seconds = seconds;
  options.extra = {"-t", "allocs"};
  Measured measured;
  const Truth::Reading before = truth.Read();
  measured.recording = Record(options);
  const Truth::Reading after = truth.Read();
  EXPECT_TRUE(HasNoProbe(program->pid()));
  const double passed = std::chrono::duration<double>(after.time - before.time).count();
  const double profiled = static_cast<double>(measured.recording.profile.duration_ns) / 1e9;
  measured.calls = (after.calls - before.calls) * profiled / passed;
  measured.bytes = (after.bytes - before.bytes) * profiled / passed;
  return measured;
}

int64_t Total(const pprof::Profile& profile, size_t value) {
  return std::accumulate(profile.samples.begin(), profile.samples.end(), int64_t{0},
                         [&](int64_t sum, const auto& s) { return sum + s.values.at(value); });
}

TEST(Allocs, AreWhatTheProgramCountedThoughProbesSlowItDown) {
  const Measured measured = MeasureAllocs({"1", "300"}, 8);
  const pprof::Profile& profile = measured.recording.profile;
  ASSERT_EQ(profile.sample_types.size(), 2U);
  EXPECT_EQ(profile.sample_types.at(0), (pprof::ValueType{"alloc_objects", "count"}));
  EXPECT_EQ(profile.sample_types.at(1), (pprof::ValueType{"alloc_space", "bytes"}));
  EXPECT_EQ(profile.period_type, (pprof::ValueType{"space", "bytes"}));
  const auto objects = static_cast<double>(Total(profile, 0));
  const auto bytes = static_cast<double>(Total(profile, 1));
  SCOPED_TRACE(fmt::format("{:.4g} of {:.4g} calls, {:.4g} of {:.4g} bytes; {}", objects,
                           measured.calls, bytes, measured.bytes,
                           fmt::join(profile.comments, "; ")));
  // Two traps slow this program down to about a third: without the correction the profile would
  // hold a third of it. How near the estimate comes depends on the host: see tests/bench/README.md.
  EXPECT_GT(std::stod(CommentValue(profile, "dilation")), 0.4);
  EXPECT_GT(objects, 0.6 * measured.calls);
  EXPECT_LT(objects, 1.6 * measured.calls);
  EXPECT_GT(bytes, 0.6 * measured.bytes);
  EXPECT_LT(bytes, 1.6 * measured.bytes);
  EXPECT_GE(std::stoi(CommentValue(profile, "windows")), 40);
  EXPECT_GT(std::stod(CommentValue(profile, "trap_ns")), 50);
  EXPECT_LT(std::stod(CommentValue(profile, "duty")), 0.05);
}

TEST(Allocs, AreOfThoseWhoAskedForTheMemory) {
  const Measured measured = MeasureAllocs({"1", "1000"}, 8);
  std::map<std::string, double> bytes;
  double all = 0;
  double at_a_site = 0;
  for (size_t i = 0; i < measured.recording.stacks.size(); i++) {
    const StackView& stack = measured.recording.stacks[i];
    ASSERT_FALSE(stack.frames.empty());
    const auto value = static_cast<double>(measured.recording.profile.samples.at(i).values.at(1));
    bytes[stack.frames.front().function] += value;
    all += value;
    const bool whole = stack.frames.size() > 2 && stack.frames[1].function == "allocate" &&
                       stack.frames[2].function == "worker";
    if (stack.frames.front().function.starts_with("site_") && whole) at_a_site += value;
  }
  ASSERT_GT(all, 0);
  EXPECT_GT(at_a_site, 0.98 * all);
  // Of 9472 bytes in 64 calls, 4096 are site_7's, and 1024 each site_4's, site_5's and site_6's.
  EXPECT_NEAR(bytes["site_7"] / all, 4096.0 / 9472, 0.1);
  for (const char* site : {"site_4", "site_5", "site_6"}) {
    EXPECT_NEAR(bytes[site] / all, 1024.0 / 9472, 0.06) << site;
  }
}

TEST(Allocs, OfAProcessThatHardlyRunsAreNotGuessed) {
  ChildProcess sleeper({"sleep", "60"});
  RecordOptions options;
  options.pids = {sleeper.pid()};
  options.seconds = 2;
  options.extra = {"-t", "allocs"};
  const Recording recording = Record(options);
  EXPECT_EQ(Total(recording.profile, 1), 0);
  EXPECT_TRUE(HasComment(recording.profile, "no estimate"));
}

TEST(Allocs, AreNotTakenOfAProcessThatOptedOut) {
  const TemporaryDirectory folder;
  ChildProcess::Options environment;
  environment.before_exec = [] { return setenv("HOTPATH_NO_ALLOC", "1", 1) == 0; };
  ChildProcess program({"sleep", "60"}, environment);
  ChildProcess::Options quiet;
  quiet.stderr_path = folder.File("stderr");
  ChildProcess record({HOTPATH_BINARY, "record", "-t", "allocs", "-p",
                       std::to_string(program.pid()), "-d", "2s", "-o", folder.File("out")},
                      quiet);
  EXPECT_EQ(record.Wait(), 1);
  std::stringstream said;
  said << std::ifstream(folder.File("stderr")).rdbuf();
  EXPECT_NE(said.str().find("HOTPATH_NO_ALLOC"), std::string::npos) << said.str();
}

}  // namespace
}  // namespace hotpath::kernel_tests
