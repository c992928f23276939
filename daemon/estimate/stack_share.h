// Sums by stack over windows, and how sure a stack's share of the total is.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace hotpath {

struct Share {
  double ratio = 0;  // Of the total.
  double lower = 0;  // 95 % interval, within [0, 1].
  double upper = 1;
};

// Windows are what was drawn at random, not the hits in them: a window that fell on one phase of
// the program is one observation however many hits it holds. So a share is sum x / sum y over
// windows (x the stack's weight in a window, y all weight in it), and its variance that of a
// ratio, K / (K - 1) sum (x - share y)^2 / (sum y)^2.
//
// Three sums a stack, so windows must be added one after the other. `stack` is any number that
// names a stack. Weights are WindowWeight() times what a byte-sampled allocation stands for.
class StackShares {
 public:
  void Add(uint64_t stack, double weight) { open_[stack] += weight; }
  // Ends the window that the latest Add() calls belong to; one without any counts as well.
  void CloseWindow();

  // Of closed windows.
  double Sum(uint64_t stack) const;
  double total() const { return total_; }
  uint64_t windows() const { return windows_; }

  // [0, 1] with fewer than 8 windows, or without weight.
  Share Of(uint64_t stack) const;

 private:
  struct Sums {
    double x = 0;
    double xx = 0;
    double xy = 0;
  };
  std::unordered_map<uint64_t, double> open_;
  std::unordered_map<uint64_t, Sums> stacks_;
  double total_ = 0;     // Sum of y.
  double total_yy_ = 0;  // Sum of y squared.
  uint64_t windows_ = 0;
};

}  // namespace hotpath
