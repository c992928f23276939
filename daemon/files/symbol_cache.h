// Where symbol indices live: shared in memory by build ID, kept as files across restarts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/files/symbol_index.h"

namespace hotpath {

// One index for each build, mapped: it costs page cache, which the kernel can take back. Without a
// directory an index stays in its memfd. Owned by FileRegistry, used by the files thread.
class SymbolCache {
 public:
  // `directory` is created if need be; empty: none. Its *.sym files are kept below `max_bytes`
  // together, the ones not used for longest go first.
  SymbolCache(std::string directory, uint64_t max_bytes);

  // The index stored under `name`; null when there is none. One that is damaged is removed.
  std::shared_ptr<const SymbolIndex> Find(const std::string& name);

  // Takes the `bytes` bytes of a sealed memfd under `name` (empty: shared with nobody).
  // Errors: kMalformed when they are no index. A disk that is full costs persistence only.
  Result<std::shared_ptr<const SymbolIndex>> Put(const std::string& name, const Fd& memfd,
                                                 uint64_t bytes);

  // Hex build ID and file size, as a cut file keeps its build ID; `with_debug` tells indices that
  // know the names of a separate debug file. Empty without a build ID.
  static std::string Name(const std::string& build_id, uint64_t file_bytes, bool with_debug);

 private:
  std::string PathOf(const std::string& name) const { return directory_ + "/" + name + ".sym"; }
  Result<Fd> WriteFile(const std::string& name, const Fd& memfd, uint64_t bytes);
  void RemoveOldest();

  const std::string directory_;
  const uint64_t max_bytes_;
  // Held by the files that use them; an entry may be dead.
  std::unordered_map<std::string, std::weak_ptr<const SymbolIndex>> in_use_;
};

}  // namespace hotpath
