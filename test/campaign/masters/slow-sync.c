// Loaded into a master before libc: its fdatasync and fsync take longer, or fail, as a file says that both sides map.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct wish { volatile uint32_t delay_ms; volatile uint32_t fails; };
static struct wish *wished;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("HEARTH_SLOW_SYNC");
  int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *at = mmap(NULL, sizeof *wished, PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) wished = at;
  close(fd);
}

static int held(int (*sync)(int), int fd) {
  if (wished == NULL) return sync(fd);
  uint32_t ms = wished->delay_ms;
  if (ms > 0) {
    struct timespec pause = { ms / 1000, (long)(ms % 1000) * 1000000L };
    nanosleep(&pause, NULL);
  }
  if (wished->fails) { errno = EIO; return -1; }
  return sync(fd);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  return held(real, fd);
}

int fsync(int fd) {
  static int (*real)(int);
  if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return held(real, fd);
}
