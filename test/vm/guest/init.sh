#!/bin/busybox sh
# The first program of the virtual machine: loads what the root disk needs, mounts it and hands over to systemd.
# Debian's own initial disk does the same with six times the size, which costs seconds where every instruction is emulated.
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
while read -r module; do /bin/busybox insmod "/modules/$module"; done < /modules/order
tries=0
until [ -b /dev/vda ] || [ "$tries" -ge 500 ]; do
  /bin/busybox usleep 20000
  tries=$((tries + 1))
done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root || exec /bin/busybox poweroff -f
# As Debian's does: nothing below /run may be executed.
/bin/busybox mount -t tmpfs -o nodev,noexec,nosuid,size=10%,mode=0755 tmpfs /root/run
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /lib/systemd/systemd
