// A simulated process under probe windows: its true rate is known, and every trap costs it time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "daemon/estimate/probe_window.h"
#include "daemon/estimate/rate_estimator.h"

namespace hotpath {

// A stretch of a thread's life.
struct Phase {
  double ns;              // Its length at native speed.
  double call_ns = 0;     // Native time per call; 0: works without a call.
  bool asleep = false;    // Off CPU.
  bool by_clock = false;  // Ends after `ns` of wall time, even if traps ate them.
  uint32_t size_bytes = 64;
};

// How a host and a process trap. Defaults are those of dilation.md's guest.
struct Host {
  double trap_ns = 500;
  double trap_window_sd = 0.015;   // Of c, between windows.
  double trap_hit_sd = 0.05;       // Of c, between hits.
  double call_bias_ns = 2;         // What traps add to d: caches and predictors...
  double call_window_sd_ns = 12;   // ...and its spread between windows.
  double interrupts_per_s = 1200;  // Of time on CPU.
  double interrupt_ns = 25'000;
  double InterruptFactor() const { return 1 + interrupts_per_s * interrupt_ns / 1e9; }
};

// A thread that repeats its phases for ever.
class SimulatedThread {
 public:
  SimulatedThread(uint32_t tid, std::vector<Phase> phases, Host host, uint64_t seed)
      : tid_(tid), phases_(std::move(phases)), host_(host), random_(seed) {}

  uint32_t tid() const { return tid_; }
  // Undisturbed.
  double CallsPerSecond() const { return 1e9 * Calls(1) / Cycle(); }
  double BytesPerSecond() const { return 1e9 * Calls(2) / Cycle(); }
  double OnCpuRatio() const {
    double on_cpu = 0;
    for (const Phase& phase : phases_) on_cpu += phase.asleep ? 0 : Wall(phase);
    return on_cpu / Cycle();
  }

  // Adds to `window` what the thread does from its `armed_ns` to `disarmed_ns`, beginning anywhere
  // in its cycle, or (`asleep`) while it is off CPU. One probe instead of two if `one_probe`.
  void Run(ProbeWindow& window, bool asleep, bool one_probe) {
    now_ = static_cast<double>(window.armed_ns);
    end_ = static_cast<double>(window.disarmed_ns);
    do {
      Enter(Uniform() * Cycle());
    } while (asleep && !phases_[phase_].asleep);
    trap_ns_ = host_.trap_ns * (1 + host_.trap_window_sd * Normal());
    call_shift_ns_ = host_.call_bias_ns + host_.call_window_sd_ns * Normal();
    to_interrupt_ = Exponential(1e9 / host_.interrupts_per_s);
    if (!phases_[phase_].asleep) window.running.push_back({tid_});
    bool first = true;
    while (now_ < end_) {
      const Phase& phase = phases_[phase_];
      if (phase.asleep) {
        now_ += left_;
        Note(window, HitKind::kSwitchIn);
        Next();
      } else if (phase.call_ns == 0) {
        Live(left_);
        Next();
      } else {
        const double gap = phase.call_ns * (first ? FirstGap() : 0.5 + Uniform());
        if (gap > left_) {
          Live(left_);
          Next();
        } else {
          Spend(gap);
          Call(window, phase, one_probe);
        }
      }
      first = false;
      if (phases_[phase_].asleep && !phase.asleep) Note(window, HitKind::kSwitchOut);
    }
  }

 private:
  double Wall(const Phase& phase) const {
    return phase.asleep || phase.by_clock ? phase.ns : phase.ns * host_.InterruptFactor();
  }
  double Cycle() const {
    double cycle = 0;
    for (const Phase& phase : phases_) cycle += Wall(phase);
    return cycle;
  }
  double Calls(int what) const {
    double calls = 0;
    for (const Phase& phase : phases_) {
      if (phase.asleep || phase.call_ns == 0) continue;
      calls += Wall(phase) / host_.InterruptFactor() / phase.call_ns *
               (what == 1 ? 1 : phase.size_bytes);
    }
    return calls;
  }

  void Enter(double wall_ns) {
    phase_ = 0;
    while (wall_ns > Wall(phases_[phase_]) && phase_ + 1 < phases_.size()) {
      wall_ns -= Wall(phases_[phase_++]);
    }
    left_ = phases_[phase_].ns * std::max(0.0, 1 - wall_ns / Wall(phases_[phase_]));
  }
  void Next() {
    phase_ = (phase_ + 1) % phases_.size();
    left_ = phases_[phase_].ns;
  }

  // Time passes, with the interrupts that fall into it.
  double Live(double ns) {
    const double begin = now_;
    now_ += ns;
    to_interrupt_ -= ns;
    while (to_interrupt_ < 0) {
      now_ += host_.interrupt_ns * (0.8 + 0.4 * Uniform());
      to_interrupt_ += Exponential(1e9 / host_.interrupts_per_s);
    }
    return now_ - begin;
  }
  // Native time of the phase passes.
  void Spend(double ns) {
    const double wall = Live(ns);
    left_ -= phases_[phase_].by_clock ? wall : ns;
  }
  void Trap(double shift_ns) {
    const double wall = Live(trap_ns_ * (1 + host_.trap_hit_sd * Normal()) + shift_ns);
    if (phases_[phase_].by_clock) left_ -= wall;
  }
  void Call(ProbeWindow& window, const Phase& phase, bool one_probe) {
    Note(window, one_probe ? HitKind::kOnly : HitKind::kFirst, phase.size_bytes);
    Trap(one_probe ? call_shift_ns_ : 1);
    if (!one_probe) {
      const bool walk = ++calls_ % kWalkEvery == 0;
      Note(window, walk ? HitKind::kWalked : HitKind::kSecond);
      Trap(call_shift_ns_ + (walk ? kWalk_ns : 0));
    }
    left_ = std::max(left_, 0.0);
  }
  void Note(ProbeWindow& window, HitKind kind, uint32_t size_bytes = 0) {
    if (now_ < end_) {
      window.hits.push_back({.time_ns = static_cast<uint64_t>(now_),
                             .tid = tid_,
                             .size_bytes = size_bytes,
                             .kind = kind});
    }
  }

  // What is left, at a random moment, of gaps that are 0.5 to 1.5: long ones are met more often.
  double FirstGap() {
    double gap = 0;
    do {
      gap = 0.5 + Uniform();
    } while (Uniform() * 1.5 > gap);
    return gap * Uniform();
  }
  double Uniform() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }
  double Exponential(double mean) { return -mean * std::log(1 - Uniform()); }
  double Normal() { return std::sqrt(Exponential(2)) * std::cos(2 * std::numbers::pi * Uniform()); }

  static constexpr uint64_t kWalkEvery = 50;  // Byte-sampled calls have their stacks walked...
  static constexpr double kWalk_ns = 4'000;   // ...which takes so long.

  uint32_t tid_;
  std::vector<Phase> phases_;
  Host host_;
  std::mt19937_64 random_;
  double now_ = 0;
  double end_ = 0;
  size_t phase_ = 0;
  double left_ = 0;  // Of the phase.
  double trap_ns_ = 0;
  double call_shift_ns_ = 0;
  double to_interrupt_ = 0;
  uint64_t calls_ = 0;
};

// How a process is profiled.
struct Profiling {
  int windows = 40;
  double window_ns = 1e6;
  double wall_ns = 20e9;
  bool one_probe = false;
  double armed_asleep = 0;  // Share of windows armed only where the thread is off CPU.
};

// The windows of one profile.
inline std::vector<ProbeWindow> SimulateWindows(std::vector<SimulatedThread>& threads,
                                                const Profiling& profiling, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<ProbeWindow> windows;
  for (int k = 0; k < profiling.windows; ++k) {
    ProbeWindow window;
    window.armed_ns = static_cast<uint64_t>(k * profiling.wall_ns / profiling.windows) + 1'000'000;
    window.disarmed_ns = window.armed_ns + static_cast<uint64_t>(profiling.window_ns);
    const bool asleep = static_cast<double>(random() % 1000) < profiling.armed_asleep * 1000;
    for (SimulatedThread& thread : threads) thread.Run(window, asleep, profiling.one_probe);
    windows.push_back(std::move(window));
  }
  return windows;
}

inline std::vector<ThreadExposure> Exposures(const std::vector<SimulatedThread>& threads,
                                             const Profiling& profiling) {
  const double outside_ns = profiling.wall_ns - profiling.windows * profiling.window_ns;
  std::vector<ThreadExposure> exposures;
  for (const SimulatedThread& thread : threads) {
    exposures.push_back({.tid = thread.tid(),
                         .on_cpu_ns = static_cast<uint64_t>(thread.OnCpuRatio() * outside_ns)});
  }
  return exposures;
}

}  // namespace hotpath
