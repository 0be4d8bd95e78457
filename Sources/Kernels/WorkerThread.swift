import CGlibc
import Glibc

/// A thread of the pool, or one that takes turns with others.
package enum WorkerThread {
  private final class Job: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Runs `body` in a thread of its own, which ends when `body` does.
  ///
  /// - Parameters:
  ///   - name: what `top -H` shows; 15 bytes of it
  ///   - stackSize: bytes; of them only what is touched becomes resident
  /// - Returns: whether there is such a thread; the system may have no more of them
  @discardableResult
  package static func start(_ name: String, stackSize: Int, _ body: @escaping @Sendable () -> Void) -> Bool {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackSize)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    var thread = pthread_t()
    let job = Unmanaged.passRetained(Job(name: name, body: body))
    let failure = pthread_create(
      &thread, &attributes,
      { address in
        guard let address else { return nil }
        let job = Unmanaged<Job>.fromOpaque(address).takeRetainedValue()
        pthread_setname_np(pthread_self(), job.name)
        job.body()
        return nil
      }, job.toOpaque())
    // A worker that does not exist takes no tasks: the others do them.
    if failure != 0 { job.release() }
    return failure == 0
  }
}

/// The processors that this process may use.
enum Processors {
  /// As the scheduler's mask says, which `taskset` sets; those that are online where it says nothing.
  static var count: Int {
    var set = cpu_set_t()
    let isKnown = sched_getaffinity(0, MemoryLayout<cpu_set_t>.size, &set) == 0
    let allowed = withUnsafeBytes(of: &set) { $0.reduce(0) { $0 + $1.nonzeroBitCount } }
    return max(1, isKnown ? allowed : sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }
}
