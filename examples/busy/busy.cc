// Keeps one CPU busy for a given time, two thirds of it in CountPrimes and one third in
// SortNumbers.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

using Clock = std::chrono::steady_clock;

// Trial division: the odd divisors up to the root of each candidate.
[[gnu::noinline]] int CountPrimes(uint32_t limit) {
  int count = 0;
  for (uint32_t candidate = 3; candidate < limit; candidate += 2) {
    uint32_t divisor = 3;
    while (divisor * divisor <= candidate && candidate % divisor != 0) divisor += 2;
    if (divisor * divisor > candidate) ++count;
  }
  return count;
}

[[gnu::noinline]] uint64_t SortNumbers(std::mt19937_64& random) {
  std::vector<uint64_t> numbers(4096);
  std::generate(numbers.begin(), numbers.end(), std::ref(random));
  std::sort(numbers.begin(), numbers.end());
  return numbers[numbers.size() / 2];
}

// Calls `work` until `duration` is over.
template <typename Work>
void RunFor(Clock::duration duration, Work work) {
  const Clock::time_point end = Clock::now() + duration;
  while (Clock::now() < end) work();
}

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 10;
  if (argc > 2 || seconds <= 0) {
    std::fputs("usage: busy [SECONDS]\n", stderr);
    return 2;
  }
  const auto limit = static_cast<uint32_t>(2000 + argc);
  std::mt19937_64 random(1);
  uint64_t sum = 0;  // Printed, so that no compiler may leave the work out.
  const Clock::time_point end = Clock::now() + std::chrono::seconds(seconds);
  while (Clock::now() < end) {
    RunFor(std::chrono::milliseconds(20), [&] { sum += CountPrimes(limit); });
    RunFor(std::chrono::milliseconds(10), [&] { sum += SortNumbers(random); });
  }
  std::printf("%llu\n", static_cast<unsigned long long>(sum));
}
