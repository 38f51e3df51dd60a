package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolated marks the environment of a program that Isolate has started.
const isolated = "CLUSTERKIT_NETLAB_ISOLATED"

// Supported returns why this machine cannot make hosts, or nil.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("netlab: network namespaces need root")
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("netlab: TUN devices: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	return ns.Close()
}

// Isolate runs this program again with the same arguments, in a network
// namespace and a mount namespace of its own, and returns its exit code. In
// that second program it returns inside = true at once: what is mounted there
// is seen by nobody else, and ends with it. It dies when the first one does.
func Isolate() (inside bool, code int, err error) {
	if os.Getenv(isolated) != "" {
		err := os.Unsetenv(isolated)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		return true, 0, err
	}
	// The death signal is sent when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //#nosec G204 G702 -- this very program with its own arguments
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return false, 1, fmt.Errorf("netlab: start in namespaces: %w", err)
	}
	ended := make(chan error, 1)
	var waiter sync.WaitGroup
	waiter.Go(func() { ended <- cmd.Wait() })
	defer waiter.Wait()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended by itself
		case err := <-ended:
			var exit *exec.ExitError
			switch {
			case err == nil:
				return false, 0, nil
			case errors.As(err, &exit) && exit.ExitCode() >= 0:
				return false, exit.ExitCode(), nil
			}
			return false, 1, err
		}
	}
}
