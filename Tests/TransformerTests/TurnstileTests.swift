import Dispatch
import Kernels
import Synchronization
import Testing
import Transformer

@Suite struct TurnstileTests {
  /// What a member did: whether it was the first at a place, and the last.
  private struct Visit: Equatable {
    let member: Int
    let place: WeightPlace
    var isFirst = false
    var isLast = false
  }

  /// The places of one pass over `layers` layers, there or there and back.
  private func pass(_ layers: Int, back: Bool = true) -> [WeightPlace] {
    (0..<layers).map { WeightPlace(.forward, $0) } + (back ? (0..<layers).map { WeightPlace(.backward, $0) } : [])
  }

  /// Sends every member through its places, each in a thread of its own; also shows that one computes at a time.
  ///
  /// - Parameter missing: members that have no thread
  private func visits(_ members: [[WeightPlace]], missing: Set<Int> = []) -> [Visit] {
    let turnstile = Turnstile(memberCount: members.count)
    let log = Mutex<[Visit]>([])
    let inside = Atomic<Int>(0)
    let ended = DispatchSemaphore(value: 0)
    for (member, places) in members.enumerated() where !missing.contains(member) {
      let isThere = WorkerThread.start("member \(member)", stackSize: 1 << 18) {
        turnstile.begin(member)
        #expect(inside.wrappingAdd(1, ordering: .relaxed).newValue == 1)
        for place in places {
          inside.wrappingSubtract(1, ordering: .relaxed)
          let isFirst = turnstile.pass(member, to: place)
          #expect(inside.wrappingAdd(1, ordering: .relaxed).newValue == 1)
          let visit = Visit(member: member, place: place, isFirst: isFirst, isLast: turnstile.isLast())
          log.withLock { $0.append(visit) }
        }
        inside.wrappingSubtract(1, ordering: .relaxed)
        turnstile.end(member)
        ended.signal()
      }
      #expect(isThere)
    }
    for member in missing { turnstile.end(member) }
    for _ in 0..<members.count - missing.count { ended.wait() }
    return log.withLock { $0 }
  }

  @Test func equalMembersGoFromPlaceToPlaceTogether() {
    let places = pass(3) + pass(3) + pass(3, back: false)
    let all = visits([places, places, places])
    let wanted = places.flatMap { place in
      (0..<3).map { Visit(member: $0, place: place, isFirst: $0 == 0, isLast: $0 == 2) }
    }
    #expect(all == wanted)
  }

  @Test func whoIsBehindCatchesUp() {
    // The second one comes later by a pass of its own, and is with the first from its next pass on.
    let all = visits([pass(4) + pass(4) + pass(4), pass(2, back: false) + pass(4) + pass(4)])
    #expect(all.count(where: \.isFirst) == 8 + 2 + 8 + 8)
    #expect(all.filter { $0.member == 1 }.prefix(2).map(\.place) == pass(2, back: false))
  }

  @Test func whatIsReadIsGivenBackOnce() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<20 {
      let members = (0..<Int.random(in: 1...6, using: &generator)).map { _ in
        (0..<Int.random(in: 0...5, using: &generator)).flatMap { _ in
          pass(Int.random(in: 1...5, using: &generator), back: Bool.random(using: &generator))
        }
      }
      let all = visits(members)
      #expect(all.count == members.reduce(0) { $0 + $1.count })
      for (member, places) in members.enumerated() {
        #expect(all.filter { $0.member == member }.map(\.place) == places)
      }
      // Weights come before they are used, and go when the last one leaves: first and last take turns.
      var isThere = false
      for visit in all {
        #expect(visit.isFirst == !isThere)
        isThere = !visit.isLast
      }
      #expect(!isThere)
    }
  }

  @Test func onePlaceAgainAndAgainIsReadAnew() {
    let place = WeightPlace(.forward, 0)
    #expect(visits([[place, place, place]]).allSatisfy { $0.isFirst && $0.isLast })
  }

  @Test func whoEndsEarlyOrHasNoThreadHoldsNobodyUp() {
    let all = visits([pass(3), [], pass(1, back: false), pass(3), pass(3)], missing: [0, 3])
    #expect(all.filter { $0.member == 4 }.map(\.place) == pass(3))
    #expect(all.filter { $0.member == 2 }.map(\.place) == pass(1, back: false))
    #expect(all.filter { [0, 3].contains($0.member) }.isEmpty)
  }

  @Test func timeIsThatOfTheTurn() {
    let turnstile = Turnstile(memberCount: 2)
    turnstile.begin(0)
    #expect(turnstile.busySeconds(0) >= 0 && turnstile.busySeconds(1) == 0)
    turnstile.end(0)
    let first = turnstile.busySeconds(0)
    turnstile.begin(1)
    #expect(turnstile.busySeconds(0) == first)
    turnstile.end(1)
  }
}
