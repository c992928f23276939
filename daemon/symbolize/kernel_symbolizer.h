// Names of kernel functions, modules and BPF programs, from /proc/kallsyms.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hotpath {

// The text symbols of one reading of kallsyms. Immutable. 12 bytes a symbol and its name: 2.4 MB
// for the 76,000 of Linux 6.18.
class KernelSymbols {
 public:
  static constexpr size_t kMaxSymbols = 4'000'000;
  static constexpr size_t kMaxNameBytes = 512;
  // A function ends where the next begins, but at the latest after this many bytes.
  static constexpr uint64_t kMaxFunctionBytes = 256 * 1024;

  // Lines as "ffffffff81000000 T _text" with "\t[module]" behind some; others are skipped.
  static KernelSymbols Parse(std::string_view kallsyms);
  // As much of `path` as can be read.
  static KernelSymbols Read(const std::string& path);

  struct Symbol {
    uint64_t address;
    std::string_view name;
  };
  // The function that covers `address`. O(log n).
  std::optional<Symbol> Find(uint64_t address) const;
  size_t size() const { return starts_.size(); }
  // Whether there are symbols but the kernel hides their addresses (kernel.kptr_restrict).
  bool hidden() const { return hidden_; }

 private:
  class Builder;
  std::string_view NameAt(size_t index) const;

  std::vector<uint64_t> starts_;   // Sorted, each once.
  std::vector<uint32_t> offsets_;  // Of their names; each name ends where the next begins.
  std::string names_;
  bool hidden_ = false;
};

// Loads the symbols when first asked, and again when an address is unknown (a new module or BPF
// program), at most every `reload_interval`. Thread-safe.
class KernelSymbolizer {
 public:
  struct Options {
    std::string kallsyms = "/proc/kallsyms";
    std::string notes = "/sys/kernel/notes";
    std::chrono::seconds reload_interval{10};
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  KernelSymbolizer();
  explicit KernelSymbolizer(Options options);

  struct Name {
    uint64_t address;  // Where the function starts.
    std::string name;  // As the kernel has it: "tcp_sendmsg", "bpf_prog_6deef7357e7b4530_sd_fw".
  };
  // nullopt: nobody knows the address, or the kernel hides its addresses (said once in the log).
  std::optional<Name> Find(uint64_t address);
  // Lower-case hex, from /sys/kernel/notes; empty when it cannot be read.
  const std::string& build_id() const { return build_id_; }
  // How often an address had no name.
  uint64_t unknown_addresses() const;

 private:
  void Load();  // With mutex_ held.

  const Options options_;
  const std::string build_id_;
  mutable std::mutex mutex_;  // Guards all below.
  std::optional<KernelSymbols> symbols_;
  std::chrono::steady_clock::time_point loaded_at_;
  uint64_t unknown_addresses_ = 0;
  bool said_hidden_ = false;
};

}  // namespace hotpath
