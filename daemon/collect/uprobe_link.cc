// bpf(BPF_LINK_CREATE) by hand: Debian 12's libbpf does not know uprobe_multi.
#include "daemon/collect/uprobe_link.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace hotpath {
namespace {

// include/uapi/linux/bpf.h
constexpr int kBpfLinkCreate = 28;
constexpr uint32_t kTraceUprobeMulti = 48;

// union bpf_attr of BPF_LINK_CREATE with its uprobe_multi member.
struct LinkCreate {
  uint32_t program_fd = 0;
  uint32_t target_fd = 0;
  uint32_t attach_type = kTraceUprobeMulti;
  uint32_t link_flags = 0;
  uint64_t path = 0;
  uint64_t offsets = 0;
  uint64_t ref_ctr_offsets = 0;
  uint64_t cookies = 0;
  uint32_t count = 0;
  uint32_t flags = 0;
  uint32_t pid = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(LinkCreate) == 64);

// Offset in its file of an address of this program.
Result<uint64_t> OffsetInSelf(const void* address) {
  struct Search {
    uint64_t address = 0;
    uint64_t offset = 0;
    bool found = false;
  } search{.address = reinterpret_cast<uint64_t>(address)};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* context) {
        auto& wanted = *static_cast<Search*>(context);
        for (int i = 0; i < info->dlpi_phnum; i++) {
          const ElfW(Phdr)& segment = info->dlpi_phdr[i];
          const uint64_t begin = info->dlpi_addr + segment.p_vaddr;
          if (segment.p_type != PT_LOAD || wanted.address < begin ||
              wanted.address - begin >= segment.p_filesz) {
            continue;
          }
          wanted.offset = wanted.address - begin + segment.p_offset;
          wanted.found = true;
        }
        return 1;  // The program itself comes first; no library is wanted.
      },
      &search);
  if (!search.found) return Fail(ErrorCode::kNotFound, "find a function of our own in our file");
  return search.offset;
}

}  // namespace

Result<Fd> AttachUprobes(int program_fd, int file_fd, uint32_t pid,
                         std::span<const UprobeSite> sites) {
  const std::string path = fmt::format("/proc/self/fd/{}", file_fd);
  std::vector<uint64_t> offsets;
  std::vector<uint64_t> cookies;
  for (const UprobeSite& site : sites) {
    offsets.push_back(site.offset);
    cookies.push_back(site.cookie);
  }
  LinkCreate attributes;
  attributes.program_fd = static_cast<uint32_t>(program_fd);
  attributes.path = reinterpret_cast<uint64_t>(path.c_str());
  attributes.offsets = reinterpret_cast<uint64_t>(offsets.data());
  attributes.cookies = reinterpret_cast<uint64_t>(cookies.data());
  attributes.count = static_cast<uint32_t>(sites.size());
  attributes.pid = pid;
  Fd link(static_cast<int>(syscall(SYS_bpf, kBpfLinkCreate, &attributes, sizeof(attributes))));
  if (link) return link;
  if (errno == EINVAL) {
    return Fail(ErrorCode::kUnsupported,
                "attach uprobes: this kernel has no uprobe_multi links (6.6 and newer have)");
  }
  return FailErrno(fmt::format("attach uprobes to process {}", pid));
}

Result<Fd> AttachUprobeToSelf(int program_fd, const void* function) {
  const Result<uint64_t> offset = OffsetInSelf(function);
  if (!offset) return std::unexpected(offset.error());
  const Fd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!self) return FailErrno("open /proc/self/exe");
  const UprobeSite site{.offset = *offset, .cookie = 0};
  return AttachUprobes(program_fd, self.get(), static_cast<uint32_t>(getpid()), {&site, 1});
}

}  // namespace hotpath
