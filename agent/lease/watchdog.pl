#!/usr/bin/perl
# Ends containers whose lease has run out, whatever has become of the agent: lease-watchdog DIRECTORY
#
# Each file CONTAINER of DIRECTORY is one lease (agent/lease/lease-file.ts writes it, always by rename):
#
#   hearth-lease 1 BOOT_ID KILL_AT_MS SENT_MS LENGTH_MS      times in boot time, the time asleep included
#   /sys/fs/cgroup/.../CONTAINER                             a cgroup directory per line
#
# At KILL_AT_MS the cgroups are frozen, so that nothing that comes late runs on, and killed. CONTAINER.fired tells when: first
# `MS`, and `MS EMPTY_MS` once nothing is in them any more. As long as the lease lies there nothing lives in them again. `watchdog`
# names this process (`PID START_TICKS`). It ends with the last lease; how to change this file: docs/decisions/0016.
use strict;
use warnings;

my $directory = $ARGV[0] // die "usage: lease-watchdog DIRECTORY\n";
my $pid_file = "$directory/watchdog";
my $boot_id = text_of('/proc/sys/kernel/random/boot_id') =~ s/\s//gr;
my %leases;           # by container: at, directories
my %fired;            # by container: since, empty
my $leaving = 0;
my $quiet_ms = 60_000;

# timerfd_create, timerfd_settime, inotify_init1, inotify_add_watch, mlockall; by e_machine of elf(5).
my %calls = (62 => [283, 286, 294, 254, 151], 183 => [85, 86, 26, 27, 230]);
my $call = $calls{machine()};

$SIG{$_} = 'IGNORE' for qw(HUP INT PIPE);
$SIG{TERM} = sub { $leaving = 1 };
protect();
my $timer = timer_of();
my $changes = changes_of();
my $pause = defined $timer && defined $changes ? 5 : 0.1;
announce();

while (1) {
    my ($next_ms, $is_busy) = look();
    leave() if over();
    wait_until($next_ms, $is_busy);
}

# One round: what the files say, and the end of what is over. Answers when the next is due.
sub look {
    read_leases();
    my $now = boot_ms();
    my ($next, $is_busy);
    for my $container (sort keys %leases) {
        my $at = $leases{$container}{at};
        if ($fired{$container} || $now >= $at) {
            $is_busy = 1 if !fire($container) || boot_ms() - $fired{$container}{since} < $quiet_ms;
        } elsif (!defined $next || $at < $next) {
            $next = $at;
        }
    }
    return ($next, $is_busy);
}

sub read_leases {
    opendir(my $listing, $directory) or exit 0;    # removed with everything else
    my %there;
    for my $name (grep { /^[0-9a-f]{32}$/ } readdir $listing) {
        my ($head, @directories) = split /\n/, text_of("$directory/$name");
        my @words = split / /, $head // '';
        # One that cannot be read keeps the word that was read before.
        $there{$name} = 1 if $leases{$name};
        next unless @words == 6 && $words[0] eq 'hearth-lease' && $words[1] eq '1' && $words[3] =~ /^\d+$/;
        next unless $words[2] eq $boot_id;
        $there{$name} = 1;
        $leases{$name} = { at => $words[3], directories => \@directories };
        $fired{$name} ||= { since => $1 } if text_of("$directory/$name.fired") =~ /^(\d+)/;
    }
    for my $name (keys %leases) {
        next if $there{$name} && -e "$directory/$name";
        delete $leases{$name};
        unlink "$directory/$name.fired" if delete $fired{$name};
    }
}

# True once nothing is in the cgroups. The mark comes first: who sees the container end must be able to see why.
sub fire {
    my ($container) = @_;
    my @directories = @{ $leases{$container}{directories} };
    my $state = $fired{$container} //= mark($container, { since => boot_ms() });
    for my $cgroup (@directories) {
        put("$cgroup/cgroup.freeze", '1') if -e "$cgroup/cgroup.freeze";
        put("$cgroup/cgroup.kill", '1') if -e "$cgroup/cgroup.kill";
    }
    my @pids = map { pids_below($_) } @directories;
    kill 'KILL', @pids if @pids;
    delete $state->{empty} if @pids;
    return 0 if @pids;
    if (!defined $state->{empty}) {
        $state->{empty} = boot_ms();
        mark($container, $state);
    }
    return 1;
}

sub mark {
    my ($container, $state) = @_;
    my $text = join(' ', grep { defined } @$state{qw(since empty)}) . "\n";
    my $path = "$directory/$container.fired";
    if (put("$path.draft", $text)) { rename("$path.draft", $path) }
    return $state;
}

# Of a cgroup and all below it, in the v2 tree or a classic one.
sub pids_below {
    my ($cgroup) = @_;
    my @pids = grep { /^[1-9]\d*$/ } split /\n/, text_of("$cgroup/cgroup.procs");
    opendir(my $listing, $cgroup) or return @pids;
    my @below = grep { !/^\./ && -d "$cgroup/$_" && !-l "$cgroup/$_" } readdir $listing;
    return (@pids, map { pids_below("$cgroup/$_") } @below);
}

# No lease is left; or all that are have run out, and nothing came late for a minute; or the host goes down and all is ended.
sub over {
    return 1 unless keys %leases;
    return !grep { pids_below($_) } map { @{ $_->{directories} } } values %leases if $leaving;
    return !grep { !$fired{$_} || !defined $fired{$_}{empty} || boot_ms() - $fired{$_}{since} < $quiet_ms } keys %leases;
}

# Who writes a lease looks for the file `watchdog` afterwards: a lease that came before it was gone is seen here.
sub leave {
    my $before = join ' ', sort keys %leases;
    unlink $pid_file if text_of($pid_file) eq identity();
    read_leases();
    exit 0 if $before eq join ' ', sort keys %leases;
    announce();
}

sub wait_until {
    my ($next_ms, $is_busy) = @_;
    my $seconds = $is_busy ? 0.05 : $pause;
    my $readable = '';
    if (defined $timer) {
        # CLOCK_BOOTTIME, absolute: it also goes off when the host wakes too late (timerfd_settime(2)). 0 disarms.
        my $at = $next_ms // 0;
        my $spec = pack('q4', 0, 0, int($at / 1000), ($at % 1000) * 1_000_000);
        syscall($call->[1], fileno $timer, 1, $spec, 0);
        vec($readable, fileno $timer, 1) = 1;
    }
    vec($readable, fileno $changes, 1) = 1 if defined $changes;
    select($readable, undef, undef, $seconds);
    sysread($changes, my $events, 65_536) if defined $changes;
}

sub machine {
    open(my $self, '<:raw', '/proc/self/exe') or return 0;
    my $header = "";
    sysread($self, $header, 20);
    return length $header == 20 ? unpack("x18 v", $header) : 0;
}

sub timer_of {
    my $fd = defined $call ? syscall($call->[0], 7, 02000000) : -1;
    my $handle;
    return $fd >= 0 && open($handle, '+<&=', $fd) ? $handle : undef;
}

sub changes_of {
    my $fd = defined $call ? syscall($call->[2], 02004000) : -1;
    my $handle;
    return undef if $fd < 0 || !open($handle, '<&=', $fd);
    my $path = "$directory\0";
    # IN_MOVED_TO, IN_DELETE, IN_DELETE_SELF
    return syscall($call->[3], $fd, $path, 0x80 | 0x200 | 0x400) >= 0 ? $handle : undef;
}

# Last to be ended for want of memory, first to get the processor, and not to be swapped out. Where it is not allowed it goes without.
sub protect {
    put('/proc/self/oom_score_adj', '-1000');
    eval { setpriority(0, 0, -20) };
    syscall($call->[4], 1 | 2 | 4) if defined $call;
    chdir '/';
}

sub announce { put("$pid_file.draft", identity()) && rename("$pid_file.draft", $pid_file) }

sub identity {
    my ($after) = text_of("/proc/$$/stat") =~ /.*\) (.*)/s;
    return "$$ " . (split / /, $after)[19] . "\n";
}

sub boot_ms { text_of('/proc/uptime') =~ /^(\d+)\.(\d\d)/ or die "/proc/uptime cannot be read\n"; return $1 * 1000 + $2 * 10 }

sub text_of {
    my ($path) = @_;
    open(my $file, '<', $path) or return '';
    local $/;
    return readline($file) // '';
}

sub put {
    my ($path, $text) = @_;
    open(my $file, '>', $path) or return 0;
    my $written = syswrite($file, $text);
    return close($file) && defined $written && $written == length $text;
}
