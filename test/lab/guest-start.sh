# Second half of the guest's start, inside the root the tests see; sourced by /out/start, which vm.ts writes.
# Loads the drivers, and leaves the PCI address of each device under test in /run/lab/u<i> and $U<i>, the interface of
# its kernel-driven peer in /run/lab/k<i> and $K<i>.
mkdir -p /lib/modules /run/lab /run/netns
ln -sfn "$LAB_KERNEL/usr/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"

# Not fq_codel: it drops frames that wait for a slow receiver, which tests that count would miss.
echo pfifo > /proc/sys/net/core/default_qdisc

# What udev would load: the drivers of all network devices. And what the tests want.
modprobe -qab $(cat /sys/bus/pci/devices/*/modalias /sys/bus/virtio/devices/*/modalias | grep -E 'bc02|^virtio:' | sort -u)
modprobe -qa iommufd vfio-pci

# The devices under test are those behind root ports in slots 0x10 and up (see qemu.ts), in that order.
index=0
for device in /sys/bus/pci/devices/0000:00:1?.?/0000:??:??.0; do
  [ -e "$device" ] || continue
  echo "${device##*/}" > "/run/lab/u$index"
  export "U$index=${device##*/}"
  index=$((index + 1))
done

for address in /sys/class/net/*/address; do
  read -r mac < "$address"
  [[ $mac == 52:54:00:00:01:* ]] || continue
  interface=${address%/address}
  index=$((16#${mac##*:}))
  echo "${interface##*/}" > "/run/lab/k$index"
  export "K$index=${interface##*/}"
done

# A user without privileges must reach the work tree, wherever it is. This changes the overlay only.
folder=$LAB_PROJECT
while [ "$folder" != / ]; do
  [ "$(stat -c %A "$folder" | cut -c10)" = x ] || chmod a+rx "$folder"
  folder=$(dirname "$folder")
done
unset folder index device address mac interface
