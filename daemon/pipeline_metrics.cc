// What the pipeline tells of itself: every counter of the path, in the order of the path.
#include <fmt/format.h>
#include <sys/resource.h>

#include "daemon/pipeline.h"

namespace hotpath {
namespace {

using Family = MetricFamily;

Family Counter(std::string name, std::string help, double value) {
  return {.name = std::move(name),
          .help = std::move(help),
          .type = Family::Type::kCounter,
          .samples = {{.labels = {}, .value = value}}};
}

Family Gauge(std::string name, std::string help, double value) {
  Family family = Counter(std::move(name), std::move(help), value);
  family.type = Family::Type::kGauge;
  return family;
}

std::string WalkEndName(WalkEnd end) {
  if (end == WalkEnd::kComplete) return "complete";
  if (end == WalkEnd::kNoUser) return "no user stack";
  return std::string(WalkEndReason(end));
}

double CpuSeconds(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

// Of each type but cpu: hotpathd_memory_growth_samples_total and so on.
std::vector<MetricFamily> Pipeline::TypeMetrics() const {
  std::lock_guard lock(mutex_);
  std::vector<Family> families;
  for (const ProfileType& type : ProfileTypes(1)) {
    if (type.id == TypeId::kCpu) continue;
    const SessionCounters sum = TotalCounters(type.id);
    const std::string prefix = "hotpathd_" + type.name;
    families.push_back(Counter(prefix + "_samples_total",
                               "Samples the kernel side sent of " + type.name + ".",
                               static_cast<double>(sum.sent.samples)));
    for (size_t i = 0; i < type.measures.size(); i++) {
      if (type.measures[i] == Measure::kSamples || type.weighed_late) continue;
      const ValueType& value = type.sample_types.at(i);
      const bool bytes = type.measures[i] == Measure::kBytes;
      families.push_back(Counter(fmt::format("{}_{}_total", prefix, bytes ? "bytes" : value.type),
                                 "What those samples stand for, " + value.unit + ".",
                                 static_cast<double>(sum.sent.Of(type.measures[i]))));
    }
    Family lost =
        Counter(prefix + "_lost_samples_total", "Samples of " + type.name + " lost, by reason.", 0);
    Family ends = Counter(prefix + "_stack_walks_total",
                          "User stack walks of " + type.name + ", by how they ended.", 0);
    lost.samples.clear();
    ends.samples.clear();
    for (size_t i = 0; i < kLosses; i++) {
      lost.samples.push_back({{{"reason", std::string(LossReason(static_cast<Loss>(i)))}},
                              static_cast<double>(sum.lost.at(i).samples)});
    }
    for (size_t i = 0; i < kWalkEnds; i++) {
      ends.samples.push_back({{{"end", WalkEndName(static_cast<WalkEnd>(i))}},
                              static_cast<double>(sum.walk_ends.at(i))});
    }
    families.push_back(std::move(lost));
    families.push_back(std::move(ends));
  }
  return families;
}

std::vector<MetricFamily> Pipeline::Collect() {
  SessionCounters sum;
  size_t open_captures = 0;
  {
    std::lock_guard lock(mutex_);
    sum = TotalCounters(TypeId::kCpu);
    open_captures = captures_.size();
  }
  std::vector<Family> families;
  families.push_back(Counter("hotpathd_samples_total", "Samples the kernel side sent.",
                             static_cast<double>(sum.sent.samples)));
  families.push_back(Counter("hotpathd_sampled_cpu_seconds_total",
                             "CPU time that the samples sent stand for.",
                             static_cast<double>(sum.sent.value) / 1e9));
  Family lost = Counter("hotpathd_lost_samples_total", "Samples lost, by reason.", 0);
  Family lost_seconds =
      Counter("hotpathd_lost_cpu_seconds_total", "CPU time that lost samples stand for.", 0);
  lost.samples.clear();
  lost_seconds.samples.clear();
  for (size_t i = 0; i < kLosses; i++) {
    const std::string reason(LossReason(static_cast<Loss>(i)));
    const SampleSum& count = sum.lost.at(i);
    lost.samples.push_back({{{"reason", reason}}, static_cast<double>(count.samples)});
    lost_seconds.samples.push_back({{{"reason", reason}}, static_cast<double>(count.value) / 1e9});
  }
  families.push_back(std::move(lost));
  families.push_back(std::move(lost_seconds));
  Family ends = Counter("hotpathd_stack_walks_total", "User stack walks, by how they ended.", 0);
  ends.samples.clear();
  for (size_t i = 0; i < kWalkEnds; i++) {
    ends.samples.push_back({{{"end", WalkEndName(static_cast<WalkEnd>(i))}},
                            static_cast<double>(sum.walk_ends.at(i))});
  }
  families.push_back(std::move(ends));

  for (MetricFamily& family : TypeMetrics()) families.push_back(std::move(family));
  for (MetricFamily& family : allocs_->Metrics()) families.push_back(std::move(family));

  const RegistryCounters& files = registry_->counters();
  families.push_back(Counter("hotpathd_files_seen_total", "Distinct files met in stacks.",
                             static_cast<double>(files.files_seen)));
  families.push_back(Counter("hotpathd_files_indexed_total",
                             "Files whose unwind table and symbols were built.",
                             static_cast<double>(files.files_indexed)));
  families.push_back(Counter("hotpathd_files_unopenable_total",
                             "Attempts at a file whose every process was gone.",
                             static_cast<double>(files.files_unopenable)));
  families.push_back(Counter("hotpathd_files_malformed_total", "Files that break ELF's rules.",
                             static_cast<double>(files.files_malformed)));
  families.push_back(Counter("hotpathd_files_killed_worker_total",
                             "Files on which the sandboxed child died or ran out of time.",
                             static_cast<double>(files.files_killed_worker)));
  families.push_back(Counter("hotpathd_file_identity_mismatches_total",
                             "Paths that no longer led to the file that was sampled.",
                             static_cast<double>(files.identity_mismatches)));
  families.push_back(Counter("hotpathd_files_without_id_total",
                             "Files for which the kernel side had no id left.",
                             static_cast<double>(kernel_->files_without_id())));
  families.push_back(Gauge("hotpathd_file_ids_free",
                           "File ids that the kernel side has left; below an eighth of 8192 those "
                           "sampled least lately are taken back.",
                           static_cast<double>(recycler_->free_slots())));
  families.push_back(Counter("hotpathd_file_ids_recycled_total",
                             "File ids taken from files that were not sampled for long.",
                             static_cast<double>(recycler_->recycled())));
  families.push_back(Counter("hotpathd_file_events_dropped_total",
                             "Sightings of files that found the queue full; they come again.",
                             static_cast<double>(files_dropped_)));
  families.push_back(Counter("hotpathd_symbol_index_bytes_total", "Bytes of symbol indices built.",
                             static_cast<double>(files.symbol_bytes)));

  const TableLoader::Counters tables = tables_->counters();
  families.push_back(Gauge("hotpathd_unwind_tables", "Unwind tables in the kernel.",
                           static_cast<double>(tables.tables)));
  families.push_back(Gauge("hotpathd_unwind_table_bytes", "Kernel memory of unwind tables.",
                           static_cast<double>(tables.bytes)));
  families.push_back(Gauge("hotpathd_unwind_rules", "Distinct unwind rules in use.",
                           static_cast<double>(tables.rules)));
  families.push_back(Counter("hotpathd_unwind_tables_evicted_total",
                             "Tables given up for others under the memory cap.",
                             static_cast<double>(tables.evicted)));
  families.push_back(Gauge("hotpathd_file_queue_length", "Files that wait to be indexed.",
                           static_cast<double>(new_files_.size())));
  families.push_back(Gauge("hotpathd_ring_buffer_bytes", "Size of the sample buffer.",
                           static_cast<double>(kernel_->ring_bytes())));
  families.push_back(Counter("hotpathd_malformed_records_total",
                             "Records that break the contract of kernel and user side: a bug.",
                             static_cast<double>(reader_->malformed())));
  families.push_back(
      Gauge("hotpathd_captures", "Captures under way.", static_cast<double>(open_captures)));
  families.push_back(Counter("hotpathd_file_worker_starts_total",
                             "Starts of the sandboxed child that reads files.",
                             static_cast<double>(worker_->children_started())));
  families.push_back(Counter("hotpathd_file_worker_cpu_seconds_total",
                             "CPU time of ended sandboxed children.", CpuSeconds(RUSAGE_CHILDREN)));
  for (MetricFamily& family : GovernMetrics()) families.push_back(std::move(family));
  if (const KernelSide::RunTime time = kernel_->program_run_time(); time.runs > 0) {
    families.push_back(Counter("hotpathd_bpf_run_seconds_total",
                               "Run time of our BPF programs (kernel.bpf_stats_enabled=1).",
                               static_cast<double>(time.run_time_ns) / 1e9));
    families.push_back(Counter("hotpathd_bpf_runs_total", "Runs of our BPF programs.",
                               static_cast<double>(time.runs)));
  }
  return families;
}

}  // namespace hotpath
