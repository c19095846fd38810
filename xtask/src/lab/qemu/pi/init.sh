#!/bin/busybox sh
# The first process of an emulated Raspberry Pi: network over USB, the host's time of day,
# then bonker-gpio with the arguments that stand behind `--` on the kernel's command line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
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
# By way of the kernel, at a level that its console shows: what a process writes to the tty itself
# stays there now and then, since QEMU loses a transmit interrupt of the PL011.
{
    bonker-gpio --version
    bonker-gpio "$@" 2>&1
    echo "bonker-gpio ended: $?"
} | while IFS= read -r line; do
    echo "<2>$line" >/dev/kmsg
done
poweroff -f
