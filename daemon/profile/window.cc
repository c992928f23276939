// Aggregation of samples into one window.
#include "daemon/profile/window.h"

namespace hotpath {

void WindowBuilder::Add(const Sample& sample) {
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
  std::vector<int64_t>& values = window_->rows[row_it->second].values;
  values[0] += 1;
  values[1] += static_cast<int64_t>(sample.weight_ns);
}

void WindowBuilder::AddKnown(const Sample& sample, Loss loss) {
  if (window_->stacks.Holds(sample.frames)) return Add(sample);
  LossCount& lost = window_->lost.at(static_cast<size_t>(loss));
  lost.samples += 1;
  lost.weight_ns += sample.weight_ns;
}

}  // namespace hotpath
