#!/bin/sh
# The first process of a guest. What to do stands in /parameters, which a second archive brings:
#   root       empty: stay in the initramfs; a 9p tag: that tree; a block device: a file system
#   fstype     of a block device
#   writable   1: root itself is written to; else a layer in memory takes all writes
#   modules    9p tag of what belongs at /lib/modules/<release>, may be empty
#   visible    a directory of root that is to be seen although it lies in /tmp, which is the guest's own
#   init       empty: only the control shell; a path: that becomes PID 1, the shell its service
#   msize      bytes in one 9p message
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mkdir -p /proc /sys /dev /run /tmp /root /root.lower /root.memory /root.new
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
. /parameters

die() {
  echo "guest: $*" >/dev/console
  poweroff -f
}

while read -r module; do
  insmod "/modules/$module" || die "cannot load $module"
done </modules/order

mkdir -p /run/guest
cp /bin/busybox /control /run/guest/
[ -d /files ] && cp -a /files /run/guest/

if [ -z "$root" ]; then
  ip link set lo up
  [ -n "$modules" ] && mkdir -p "/lib/modules/$(uname -r)" &&
    mount -t 9p -o "trans=virtio,version=9p2000.L,ro,cache=loose,msize=$msize" "$modules" "/lib/modules/$(uname -r)"
  mount -t tmpfs tmpfs /tmp
  exec /run/guest/busybox sh /run/guest/control
fi

case $root in
  /dev/*) mount -t "$fstype" -o "$([ -n "$writable" ] && echo rw || echo ro)" "$root" /root.lower ;;
  *) mount -t 9p -o "trans=virtio,version=9p2000.L,cache=loose,msize=$msize,$([ -n "$writable" ] && echo rw || echo ro)" \
    "$root" /root.lower ;;
esac || die "cannot mount the root file system $root"

new=/root.new
if [ -n "$writable" ]; then
  mount -o bind /root.lower $new
else
  mount -t tmpfs -o "size=75%" tmpfs /root.memory
  mkdir /root.memory/upper /root.memory/work
  mount -t overlay -o "lowerdir=/root.lower,upperdir=/root.memory/upper,workdir=/root.memory/work" overlay $new ||
    die "cannot lay memory over the root file system"
fi
if [ -n "$modules" ]; then
  # of a merged /usr where there is one
  place=$new/lib/modules
  [ -L $new/lib ] && place=$new/usr/lib/modules
  mkdir -p "$place/$(uname -r)"
  mount -t 9p -o "trans=virtio,version=9p2000.L,ro,cache=loose,msize=$msize" "$modules" "$place/$(uname -r)" ||
    die "cannot mount the modules"
fi
for place in proc sys dev run; do
  mkdir -p "$new/$place"
  mount -o move "/$place" "$new/$place"
done
if [ -n "$init" ]; then
  # Its own /tmp and devices are the init's affair. The control shell is a service of systemd.
  mkdir -p $new/etc/systemd/system/sysinit.target.wants
  cat >$new/etc/systemd/system/guest-control.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=simple
ExecStart=/run/guest/busybox sh /run/guest/control
KillMode=process
StandardOutput=null
StandardError=null
END
  ln -sf ../guest-control.service $new/etc/systemd/system/sysinit.target.wants/
  exec switch_root $new "$init"
fi
mkdir -p $new/tmp $new/dev/pts $new/dev/shm
[ -n "$visible" ] && mkdir /visible && mount -o bind "$new$visible" /visible
mount -t tmpfs -o mode=1777 tmpfs $new/tmp
[ -d /visible ] && mkdir -p "$new$visible" && mount -o move /visible "$new$visible"
mount -t tmpfs -o mode=1777 tmpfs $new/dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts $new/dev/pts
mount -t cgroup2 cgroup2 $new/sys/fs/cgroup
# The first cpuset turns code of the kernel on and the last turns it off: not while others run it,
# see CONTRIBUTING.md, "Guests of QEMU".
echo +cpuset >$new/sys/fs/cgroup/cgroup.subtree_control && mkdir $new/sys/fs/cgroup/cpusets-stay-on
mount -t debugfs debugfs $new/sys/kernel/debug
[ -e $new/dev/fd ] || ln -s /proc/self/fd $new/dev/fd
exec switch_root $new /run/guest/busybox sh /run/guest/control
