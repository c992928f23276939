// Aggregation of samples into one window.
#include "daemon/profile/window.h"

namespace hotpath {

SampleSum& SampleSum::operator+=(const SampleSum& other) {
  samples += other.samples;
  value += other.value;
  bytes += other.bytes;
  return *this;
}

SampleSum SampleSum::operator-(const SampleSum& other) const {
  return {.samples = samples - other.samples,
          .value = value - other.value,
          .bytes = bytes - other.bytes};
}

int64_t SampleSum::Of(Measure measure) const {
  switch (measure) {
    case Measure::kSamples:
      return static_cast<int64_t>(samples);
    case Measure::kValue:
      return static_cast<int64_t>(value);
    case Measure::kBytes:
      return static_cast<int64_t>(bytes);
  }
  return 0;
}

uint32_t WindowBuilder::Add(const Sample& sample) {
  SampleOwner owner{.process = sample.process,
                    .tid = sample.tid,
                    .cgroup_id = sample.cgroup_id,
                    .comm = sample.comm,
                    .process_name = sample.process_name};
  const auto next = static_cast<uint32_t>(window_->owners.size());
  const auto [owner_it, new_owner] = owner_index_.try_emplace(std::move(owner), next);
  if (new_owner) window_->owners.push_back(owner_it->first);

  const StackId stack = window_->stacks.Intern(sample.frames);
  const auto next_row = static_cast<uint32_t>(window_->rows.size());
  const auto [row_it, new_row] =
      row_index_.try_emplace({owner_it->second, stack.value, sample.walk_end}, next_row);
  if (new_row) {
    window_->rows.push_back({.owner = owner_it->second,
                             .stack = stack,
                             .walk_end = sample.walk_end,
                             .failed_file = sample.failed_file,
                             .values = std::vector<int64_t>(window_->type.sample_types.size())});
  }
  WindowRow& row = window_->rows[row_it->second];
  row.samples++;
  const SampleSum one{.samples = 1, .value = sample.value, .bytes = sample.bytes};
  for (size_t i = 0; i < row.values.size(); i++) {
    row.values[i] += one.Of(window_->type.measures.at(i));
  }
  return row_it->second;
}

std::optional<uint32_t> WindowBuilder::AddKnown(const Sample& sample, Loss loss) {
  if (window_->stacks.Holds(sample.frames)) return Add(sample);
  window_->lost.at(static_cast<size_t>(loss)) +=
      {.samples = 1, .value = sample.value, .bytes = sample.bytes};
  return std::nullopt;
}

}  // namespace hotpath
