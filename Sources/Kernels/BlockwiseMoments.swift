/// AdamW's two moments in 8 bits: each element is the place of a value in a `DynamicMap`, times the largest magnitude of
/// its block. A view that owns nothing; zeroed memory holds moments of zero.
///
/// Blocks begin anew with every part of the parameters, such as one matrix: what lies beside it has gradients of another
/// size. No second moment above zero becomes zero, because it is a divisor; here bitsandbytes does round to zero, and
/// such elements then take steps that are too long.
///
/// Source: Dettmers et al. 2021, "8-bit optimizers via block-wise quantization", arXiv 2110.02861.
public struct BlockwiseMoments: @unchecked Sendable {
  // @unchecked: as for `Matrix`.

  /// Elements that share a largest magnitude.
  public static let blockSize = 256

  /// One of the moments.
  public struct Moment: @unchecked Sendable {
    // @unchecked: as for `Matrix`.

    /// One byte for each element.
    public let codes: Scratch
    /// One for each block.
    public let absmax: Vector

    public init(codes: Scratch, absmax: Vector) {
      self.codes = codes
      self.absmax = absmax
    }

    fileprivate var codeBytes: UnsafeMutablePointer<UInt8> { codes.base.assumingMemoryBound(to: UInt8.self) }
  }

  /// A piece of the parameters and its blocks.
  struct Part {
    let elements: Range<Int>
    let firstBlock: Int

    var blockCount: Int { (elements.count + blockSize - 1) / blockSize }

    /// Elements of block number `index` of the part.
    func block(_ index: Int) -> Range<Int> {
      let start = elements.lowerBound + index * blockSize
      return start..<min(start + blockSize, elements.upperBound)
    }
  }

  public let first: Moment
  public let second: Moment
  let parts: [Part]
  private let working: Vector  // [threads * 2 * block]

  /// - Parameters:
  ///   - parts: elements of each part of the parameters
  ///   - working: `workingCount` floats for each thread
  public init(parts: [Int], first: Moment, second: Moment, working: Vector) {
    var start = 0
    var block = 0
    self.parts = parts.map { count in
      let part = Part(elements: start..<start + count, firstBlock: block)
      start += count
      block += part.blockCount
      return part
    }
    precondition(
      [first, second].allSatisfy { $0.codes.byteCount == start && $0.absmax.count == block }
        && working.count >= Self.workingCount, "a code for each element, a maximum for each block")
    self.first = first
    self.second = second
    self.working = working
  }

  /// Floats that a thread works in: both moments of a block.
  public static let workingCount = 2 * blockSize

  /// Blocks of parts with so many elements each.
  public static func blockCount(parts: [Int]) -> Int {
    parts.reduce(0) { $0 + ($1 + blockSize - 1) / blockSize }
  }

  /// Elements of each moment.
  public var count: Int { parts.last?.elements.upperBound ?? 0 }

  /// Where worker `worker` decodes the moments of a block.
  func working(_ worker: Int) -> (first: UnsafeMutablePointer<Float>, second: UnsafeMutablePointer<Float>) {
    precondition((worker + 1) * Self.workingCount <= working.count, "working memory for every thread")
    let base = working.base + worker * Self.workingCount
    return (base, base + Self.blockSize)
  }

  /// Runs `body` for every block of every part, a part per task.
  func forEachBlock(pool: ThreadPool, _ body: @Sendable (_ block: Int, _ elements: Range<Int>, _ worker: Int) -> Void) {
    pool.run(parts.count) { task, worker in
      let part = parts[task]
      for index in 0..<part.blockCount { body(part.firstBlock + index, part.block(index), worker) }
    }
  }

  /// The moments of a block as floats.
  func decode(
    block: Int, _ elements: Range<Int>, first: UnsafeMutablePointer<Float>, second: UnsafeMutablePointer<Float>
  ) {
    Self.decode(
      self.first.codeBytes + elements.lowerBound, absmax: self.first.absmax.base[block], .signed, count: elements.count,
      into: first)
    Self.decode(
      self.second.codeBytes + elements.lowerBound, absmax: self.second.absmax.base[block], .unsigned,
      count: elements.count, into: second)
  }

  /// Takes over the moments of a block.
  func encode(
    block: Int, _ elements: Range<Int>, first: UnsafePointer<Float>, second: UnsafePointer<Float>
  ) {
    self.first.absmax.base[block] = Self.encode(
      first, .signed, count: elements.count, into: self.first.codeBytes + elements.lowerBound)
    let codes = self.second.codeBytes + elements.lowerBound
    self.second.absmax.base[block] = Self.encode(second, .unsigned, count: elements.count, into: codes)
    for place in 0..<elements.count where second[place] > 0 { codes[place] = max(codes[place], 1) }
  }

  private static func decode(
    _ codes: UnsafePointer<UInt8>, absmax: Float, _ map: DynamicMap, count: Int,
    into target: UnsafeMutablePointer<Float>
  ) {
    map.values.withUnsafeBufferPointer { values in
      for place in 0..<count { target[place] = values[Int(codes[place])] * absmax }
    }
  }

  /// - Returns: the largest magnitude.
  private static func encode(
    _ source: UnsafePointer<Float>, _ map: DynamicMap, count: Int, into codes: UnsafeMutablePointer<UInt8>
  ) -> Float {
    // Magnitudes are ordered as their bits are: an integer maximum becomes vectors.
    var largestBits: UInt32 = 0
    for place in 0..<count { largestBits = max(largestBits, source[place].bitPattern & 0x7FFF_FFFF) }
    let largest = Float(bitPattern: largestBits)
    let divisor = largest == 0 ? 1 : largest
    map.middles.withUnsafeBufferPointer { middles in
      guard let middles = middles.baseAddress else { return }
      for place in 0..<count { codes[place] = DynamicMap.code(of: source[place] / divisor, middles: middles) }
    }
    return largest
  }
}

// MARK: Taking over from, and giving, the exact form

extension BlockwiseMoments {
  /// Elements of the exact moments, copied to where they are wanted.
  public typealias ExactReader = (_ elements: Range<Int>, _ target: UnsafeMutableBufferPointer<Float>) -> Void

  /// Rounds exact moments, block by block.
  public func assign(first: ExactReader, second: ExactReader) {
    let (m, v) = working(0)
    for part in parts {
      for index in 0..<part.blockCount {
        let elements = part.block(index)
        first(elements, UnsafeMutableBufferPointer(start: m, count: elements.count))
        second(elements, UnsafeMutableBufferPointer(start: v, count: elements.count))
        encode(block: part.firstBlock + index, elements, first: m, second: v)
      }
    }
  }

  /// Writes the values into vectors of as many elements.
  public func copy(first: Vector, second: Vector) {
    precondition(first.count == count && second.count == count, "moments of the same parameters")
    for part in parts {
      for index in 0..<part.blockCount {
        let elements = part.block(index)
        decode(
          block: part.firstBlock + index, elements, first: first.base + elements.lowerBound,
          second: second.base + elements.lowerBound)
      }
    }
  }
}
