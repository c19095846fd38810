#!/bin/busybox sh
# The first process of an emulated Raspberry Pi: network over USB, the host's time of day,
# then bonker-gpio with the arguments that stand behind `--` on the kernel's command line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
# The kernel's lines would end up within ours.
dmesg -n 1
for module in /modules/*.ko; do
    [ -e "$module" ] && insmod "$module"
done
# A Pi has no clock that runs while it is off.
date -s "@$bonker_epoch" >/dev/null
# There is no udev to tell that the adapter has been found.
tries=0
until [ -e /sys/class/net/usb0 ] || [ $tries -ge 600 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
ifconfig lo 127.0.0.1 up
# The address that QEMU's user network forwards to.
ifconfig usb0 10.0.2.15 up
# A CPU that idles has the host's time: QEMU waits for its next timer, and a busy host wakes it late.
nice -n 19 sh -c 'while :; do :; done' &
# Through a pipe: a log on a terminal is coloured, and the simulator draws.
{
    bonker-gpio --version
    bonker-gpio "$@" 2>&1
    echo "bonker-gpio ended: $?"
} | cat
poweroff -f
