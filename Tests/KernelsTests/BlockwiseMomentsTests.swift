import Formats
import Foundation
import Kernels
import Testing

private let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  .appendingPathComponent("Golden/adamw-8bit.safetensors").path

/// A vector whose memory stays until the tests end.
private func vector(_ values: [Float]) -> Vector {
  let vector = Vector(UnsafeMutablePointer<Float>.allocate(capacity: max(values.count, 1)), count: values.count)
  vector.assign(values)
  return vector
}

private func zeros(_ count: Int) -> [Float] { [Float](repeating: 0, count: count) }

extension BlockwiseMoments {
  /// Moments of zero.
  fileprivate init(parts: [Int], threads: Int = 2) {
    let count = parts.reduce(0, +)
    func moment() -> Moment {
      let codes = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 64)
      codes.initializeMemory(as: UInt8.self, repeating: 0, count: count)
      return Moment(
        codes: Scratch(codes, byteCount: count), absmax: vector(zeros(Self.blockCount(parts: parts))))
    }
    self.init(parts: parts, first: moment(), second: moment(), working: vector(zeros(threads * Self.workingCount)))
  }

  fileprivate var codes: [[UInt8]] { [first, second].map { $0.codes.withBytes { Array($0) } } }
  fileprivate var absmax: [[Float]] { [first.absmax.values, second.absmax.values] }

  /// The values of both moments.
  fileprivate func values() -> [[Float]] {
    let (first, second) = (vector(zeros(count)), vector(zeros(count)))
    copy(first: first, second: second)
    return [first.values, second.values]
  }

  fileprivate func assign(_ first: [Float], _ second: [Float]) {
    func reader(_ values: [Float]) -> ExactReader {
      { elements, target in for (place, element) in elements.enumerated() { target[place] = values[element] } }
    }
    assign(first: reader(first), second: reader(second))
  }
}

/// Gradients of all sizes, also zero.
private func gradients(_ count: Int, _ generator: inout Generator) -> [Float] {
  (0..<count).map { index in index % 17 == 0 ? 0 : generator.next() * pow(10, 3 * generator.next()) }
}

struct BlockwiseMomentsTests {
  private static let optimizer = AdamW(weightDecay: 0.1)

  @Test func theDynamicMapsAreThoseOfBitsandbytes() throws {
    let file = try SafetensorsFile(path: golden)
    #expect(DynamicMap.signed.values == file.tensor("signed")?.floats())
    #expect(DynamicMap.unsigned.values == file.tensor("unsigned")?.floats())
  }

  /// Every update starts from the state that bitsandbytes had. It sums in another order, so a value next to the middle
  /// between two codes may get either.
  @Test(arguments: ["a", "b"]) func updatesAreThoseOfBitsandbytes(matrix: String) throws {
    let file = try SafetensorsFile(path: golden)
    func floats(_ name: String) throws -> [Float] { try #require(file.tensor("\(matrix).\(name)")).floats() }
    func bytes(_ name: String) throws -> [UInt8] { try floats(name).map { UInt8($0) } }
    let start = try floats("0.parameters")
    for step in 1...4 {
      let made = BlockwiseMoments(parts: [start.count])
      if step > 1 {
        for (index, moment) in [made.first, made.second].enumerated() {
          let codes = try bytes("\(step - 1).codes\(index + 1)")
          moment.codes.withBytes { $0.copyBytes(from: codes) }
          moment.absmax.assign(try floats("\(step - 1).absmax\(index + 1)"))
        }
      }
      let parameters = vector(try floats("\(step - 1).parameters"))
      Self.optimizer.update(
        parameters: parameters, gradients: vector(try floats("\(step).gradients")),
        moments: .int8(made), step: step, learningRate: 1e-2, pool: ThreadPool(threadCount: 1))
      for (found, wanted) in zip(parameters.values, try floats("\(step).parameters")) {
        #expect(abs(found - wanted) < 2e-7, "step \(step)")
      }
      for index in 0..<2 {
        let differences = zip(made.codes[index], try bytes("\(step).codes\(index + 1)")).map { abs(Int($0) - Int($1)) }
        #expect(differences.allSatisfy { $0 <= 1 } && differences.reduce(0, +) <= 2, "moment \(index) of step \(step)")
        for (found, wanted) in zip(made.absmax[index], try floats("\(step).absmax\(index + 1)")) {
          // 1 - 0.999 is taken in floats, 1.3e-5 from what it is in doubles
          #expect(abs(found / wanted - 1) < 2e-5, "step \(step)")
        }
      }
    }
  }

  @Test func threadCountDoesNotChangeUpdates() {
    let parts = [300, 256, 1, 1000, 511]
    let count = parts.reduce(0, +)
    func run(_ threads: Int) -> ([Float], [[UInt8]], [[Float]]) {
      var generator = Generator()
      let parameters = vector((0..<count).map { _ in generator.next() })
      let made = BlockwiseMoments(parts: parts, threads: threads)
      let pool = ThreadPool(threadCount: threads)
      for step in 1...5 {
        Self.optimizer.update(
          parameters: parameters, gradients: vector(gradients(count, &generator)),
          moments: .int8(made), step: step, learningRate: 1e-2, pool: pool)
      }
      return (parameters.values, made.codes, made.absmax)
    }
    let one = run(1)
    for threads in [2, 3] {
      let other = run(threads)
      #expect(other.0 == one.0 && other.1 == one.1 && other.2 == one.2)
    }
  }

  /// As if each part were alone: what lies beside it does not matter.
  @Test func partsDoNotShareBlocks() {
    var generator = Generator()
    let small = (0..<100).map { _ in generator.next() * 1e-9 }
    let large = (0..<100).map { _ in generator.next() }
    func rounded(_ parts: [[Float]]) -> [Float] {
      let made = BlockwiseMoments(parts: parts.map(\.count))
      made.assign(parts.flatMap { $0 }, parts.flatMap { $0.map { abs($0) } })
      return made.values().flatMap { $0.suffix(100) }
    }
    #expect(rounded([large, small]) == rounded([small]))
    #expect(BlockwiseMoments.blockCount(parts: [100, 256, 257, 0]) == 4)
  }

  /// The values of the map keep two digits at the top of each power of ten and one below it.
  @Test func momentsAreRoundedToNearbyValues() {
    var generator = Generator()
    let first = (0..<777).map { _ in generator.next() * pow(10, 2 * generator.next()) }
    let second = first.map { $0 * $0 }
    let made = BlockwiseMoments(parts: [777])
    made.assign(first, second)
    let values = made.values()
    for (exact, found) in [(first, values[0]), (second, values[1])] {
      for start in stride(from: 0, to: 777, by: 256) {
        let block = start..<min(start + 256, 777)
        let largest = exact[block].reduce(0) { max($0, abs($1)) }
        for place in block {
          // half of the widest gap of a map is 0.07 of its power of ten
          #expect(abs(exact[place] - found[place]) <= 0.0071 * largest)
          if abs(exact[place]) == largest { #expect(abs(found[place]) > 0.99 * largest) }
        }
      }
    }
    // what was rounded is not changed by rounding it again
    let again = BlockwiseMoments(parts: [777])
    again.assign(values[0], values[1])
    #expect(again.values()[1] == values[1])
  }

  @Test func nothingAboveZeroBecomesASecondMomentOfZero() {
    let second: [Float] = [1, 0, 1e-6, 1e-9, 1e-30, 0, .leastNonzeroMagnitude]
    let made = BlockwiseMoments(parts: [second.count])
    made.assign(second, second)
    let least = DynamicMap.unsigned.values[1]
    #expect(made.values()[1] == [1, 0, DynamicMap.unsigned.values[2], least, least, 0, least])
  }

  @Test func blocksOfZerosAndOfWhatIsNoNumberAreTaken() {
    let made = BlockwiseMoments(parts: [256, 256, 256, 3])
    var values: [Float] = zeros(256)
    for value in [Float.nan, .infinity] { values += [Float](repeating: value, count: 256) }
    let least = Float.leastNonzeroMagnitude
    values += [least, -least, 0]
    made.assign(values, values.map { abs($0) })
    let found = made.values()
    for moment in found {
      #expect(moment[..<256].allSatisfy { $0 == 0 })
      #expect(moment[256..<768].allSatisfy { !$0.isFinite })
      #expect(moment[768] == least)
    }
  }
}
