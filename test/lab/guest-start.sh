# Second half of the guest's start, inside the root the tests see; sourced by /out/start, which vm.ts writes.
# Loads the drivers, and leaves the PCI address of each device under test in /run/lab/u<i> and $U<i>, the interface of
# its kernel-driven peer in /run/lab/k<i> and $K<i>.
mkdir -p /lib/modules /run/lab /run/netns
ln -sfn "$LAB_KERNEL/usr/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"

# What udev would load: the drivers of all network devices. And what the tests want.
modprobe -qab $(cat /sys/bus/pci/devices/*/modalias /sys/bus/virtio/devices/*/modalias | grep -E 'bc02|^virtio:' | sort -u)
modprobe -qa iommufd vfio-pci

for address in /sys/class/net/*/address; do
  interface=$(basename "$(dirname "$address")")
  read -r mac < "$address"
  case $mac in
    52:54:00:00:00:*)
      # A virtio interface's device is a child of its PCI function.
      pci=$(readlink -f "/sys/class/net/$interface/device" | grep -oE '[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]' | tail -1)
      name=u$((16#${mac##*:})) value=$pci ;;
    52:54:00:00:01:*) name=k$((16#${mac##*:})) value=$interface ;;
    *) continue ;;
  esac
  echo "$value" > "/run/lab/$name"
  export "${name^}=$value"
done
unset address interface mac pci name value
