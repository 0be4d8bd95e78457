import Dispatch
import Synchronization

/// Where a pass over the weights stands. Places are in the order in which a pass comes to them.
package struct WeightPlace: Hashable, Comparable, Sendable {
  package enum Stage: Int, Sendable {
    /// Before the first pass.
    case start
    case forward
    /// The head's sums of the softmax, or its logits.
    case softmax
    case headGradient
    case backward
  }

  package let stage: Stage
  /// Within the stage, ascending.
  package let order: Int

  package init(_ stage: Stage, _ order: Int) {
    self.stage = stage
    self.order = order
  }

  package static func < (a: Self, b: Self) -> Bool { (a.stage.rawValue, a.order) < (b.stage.rawValue, b.order) }
}

/// Lets models of the same store, each computed by a thread of its own, go through the weights together, so that what is read
/// for one serves all.
///
/// One member computes at a time: it has the turn until it comes to the next place of its pass, where it gives the turn away
/// and waits. All members then wait at places that are known, and one of them goes on: one that wants the weights that
/// are there; where nobody does, the one that is least far in its pass. So within a pass those behind catch up, and then all go
/// from place to place together. What a member does between two passes, such as an update or a checkpoint, it does in its turn.
///
/// Nobody waits forever: a turn is had by a member, which waits for no other one, or it is given to a member that waits;
/// and a member that ends gives it away for good.
public final class Turnstile: Sendable {
  private struct State: Sendable {
    /// By member: where it waits; `nil` of the one that has the turn, and of those that have ended.
    var waiting: [WeightPlace?]
    /// The place whose weights are in memory.
    var loaded: WeightPlace?
    /// Who has the turn.
    var holder: Int?
    /// By member: how long it had the turn.
    var busy: [Duration]
    var since = ContinuousClock.now

    /// Ends the turn of a member.
    ///
    /// - Returns: who has the next one, if somebody waits
    mutating func handOver(from member: Int) -> Int? {
      let now = ContinuousClock.now
      busy[member] += since.duration(to: now)
      since = now
      let next = waiting.firstIndex { $0 != nil && $0 == loaded } ?? leastFar
      if let next { waiting[next] = nil }
      holder = next
      return next
    }

    private var leastFar: Int? {
      let places = waiting.enumerated().compactMap { member, place in place.map { (place: $0, member: member) } }
      return places.min { ($0.place, $0.member) < ($1.place, $1.member) }?.member
    }
  }

  private let state: Mutex<State>
  /// By member: signalled when it gets the turn.
  private let turns: [DispatchSemaphore]

  /// All members wait for their first turn from now on; the first one has it.
  public init(memberCount: Int) {
    precondition(memberCount > 0, "a turnstile for somebody")
    var waiting = [WeightPlace?](repeating: WeightPlace(.start, 0), count: memberCount)
    waiting[0] = nil
    state = Mutex(State(waiting: waiting, holder: 0, busy: [Duration](repeating: .zero, count: memberCount)))
    turns = (0..<memberCount).map { _ in DispatchSemaphore(value: 0) }
    turns[0].signal()
  }

  /// Waits for a member's first turn; before anything else that it does.
  package func begin(_ member: Int) { turns[member].wait() }

  /// A member gives its turn away at `place`, and has it again on return.
  ///
  /// - Returns: whether the weights of the place are to be read, because nobody has left them there
  package func pass(_ member: Int, to place: WeightPlace) -> Bool {
    let next = state.withLock { state in
      state.waiting[member] = place
      return state.handOver(from: member)
    }
    if let next, next != member {
      turns[next].signal()
      turns[member].wait()
    }
    return state.withLock { state in
      defer { state.loaded = place }
      return state.loaded != place
    }
  }

  /// Whether no other member wants the weights of the place where the turn is; they are taken for gone then.
  package func isLast() -> Bool {
    state.withLock { state in
      if let loaded = state.loaded, state.waiting.contains(loaded) { return false }
      state.loaded = nil
      return true
    }
  }

  /// A member ends, and gives its turn away for good. One that never began, because it has no thread, may end as well.
  package func end(_ member: Int) {
    let next = state.withLock { state -> Int? in
      state.waiting[member] = nil
      return state.holder == member ? state.handOver(from: member) : nil
    }
    if let next { turns[next].signal() }
  }

  /// How long a member has had the turn, in turns that have ended and in this one.
  package func busySeconds(_ member: Int) -> Double {
    state.withLock { state in
      let now = state.holder == member ? state.since.duration(to: .now) : .zero
      return (state.busy[member] + now) / .seconds(1)
    }
  }
}

/// A member's place in a turnstile.
public struct WeightTurn: Sendable {
  package let turnstile: Turnstile
  package let member: Int

  package init(_ turnstile: Turnstile, member: Int) {
    self.turnstile = turnstile
    self.member = member
  }

  /// How long the member has computed.
  public var busySeconds: Double { turnstile.busySeconds(member) }
}
