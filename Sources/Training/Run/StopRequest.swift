import Glibc

/// SIGINT, SIGTERM and SIGHUP ask for an end.
///
/// As long as there is nothing to save, they end the process at once (`endAtOnce`). Later the first one is noted, so that
/// the work can come to an end in order (`install`), and a second one ends the process at once. The exit code is 128 and the
/// signal's number.
public enum StopRequest {
  /// A run that a signal ended before it wrote anything that stays.
  public struct Stopped: Error, CustomStringConvertible {
    public let signal: Int32
    public var description: String { "stopped by signal \(signal); nothing was written" }

    public init(signal: Int32) { self.signal = signal }
  }

  // Written by the handler, which may use nothing that allocates or locks.
  private nonisolated(unsafe) static var received: sig_atomic_t = 0
  private nonisolated(unsafe) static var isSaving: sig_atomic_t = 0
  private nonisolated(unsafe) static var firstSecond = 0

  private static let numbers = [SIGINT, SIGTERM, SIGHUP]

  /// Notes the next signal.
  public static func install() { handle(isSaving: 1) }

  /// Ends the process with the next signal.
  public static func endAtOnce() { handle(isSaving: 0) }

  private static func handle(isSaving value: sig_atomic_t) {
    received = 0
    firstSecond = 0
    isSaving = value
    // A log whose reader has gone is no reason to lose a run.
    signal(SIGPIPE, SIG_IGN)
    for number in numbers {
      var old = sigaction()
      // `nohup` means it: who ignores a hang-up goes on ignoring it.
      if number == SIGHUP, sigaction(number, nil, &old) == 0, isIgnored(old) { continue }
      signal(number) { StopRequest.take($0) }
    }
  }

  private static func isIgnored(_ action: sigaction) -> Bool {
    unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
  }

  private static func take(_ number: Int32) {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    if isSaving == 0 { _exit(128 + number) }
    if received == 0 {
      received = sig_atomic_t(number)
      firstSecond = now.tv_sec
    } else if number != SIGHUP || now.tv_sec - firstSecond > 1 {
      // A terminal that closes hangs up twice, by the kernel and by the shell.
      _exit(128 + number)
    }
  }

  /// The signal that came, if one did.
  public static var signalNumber: Int32? { received == 0 ? nil : Int32(received) }
}
