import Glibc

/// A lock, and the wait for something that changes under it.
package final class Condition: @unchecked Sendable {
  // @unchecked: made to be shared; both live in memory that this object owns and never moves.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  package func lock() { pthread_mutex_lock(mutex) }
  package func unlock() { pthread_mutex_unlock(mutex) }
  /// Gives the lock away, and has it again when somebody has signalled, or for no reason.
  package func wait() { pthread_cond_wait(condition, mutex) }
  package func signal() { pthread_cond_signal(condition) }
  package func broadcast() { pthread_cond_broadcast(condition) }

  /// As `wait`, but no longer than to a time of day.
  /// - Returns: whether it waited that long
  package func wait(until end: timespec) -> Bool {
    var end = end
    return pthread_cond_timedwait(condition, mutex, &end) == ETIMEDOUT
  }
}
