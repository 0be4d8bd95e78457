import Formats

/// Samples in rows, each row with as many as fit: where the samples of each row begin, and which they are.
struct PackedRows: Sendable {
  private let starts: MappedList<UInt32>
  private let members: MappedList<UInt32>
  /// Tokens that the fullest row has left.
  let leastRoom: Int

  /// First fit over the rows that were opened last: near the best packing, and fast for any number of samples.
  private static let window = 64

  var count: Int { starts.count }

  subscript(row: Int) -> [Int] {
    let end = row + 1 < starts.count ? Int(starts[row + 1]) : members.count
    return (Int(starts[row])..<end).map { Int(members[$0]) }
  }

  func dropPages() {
    starts.dropPages()
    members.dropPages()
  }

  /// - Parameters:
  ///   - maximumLength: tokens of a row
  ///   - extra: tokens of a sample beside its own
  ///   - order: in which the samples are taken; that of the data if `nil`
  static func pack(_ data: TrainingData, maximumLength: Int, extra: Int, order: [UInt32]?) throws -> PackedRows {
    let samples = data.samples
    let starts = MappedList<UInt32>(.unnamed(directory: data.directory))
    let members = MappedList<UInt32>(.unnamed(directory: data.directory))
    var open: [(members: [UInt32], room: Int)] = []
    var leastRoom = Int.max
    func close() throws {
      let row = open.removeFirst()
      try starts.append(UInt32(members.count))
      try members.append(contentsOf: row.members)
      leastRoom = min(leastRoom, row.room)
    }
    for place in 0..<samples.count {
      let index = order?[place] ?? UInt32(place)
      let count = samples.length(Int(index)) + extra
      if !data.isOnePerRow, let fit = open.firstIndex(where: { $0.room >= count }) {
        open[fit].members.append(index)
        open[fit].room -= count
      } else {
        open.append(([index], maximumLength - count))
        if open.count > window { try close() }
      }
    }
    while !open.isEmpty { try close() }
    try starts.seal()
    try members.seal()
    return PackedRows(starts: starts, members: members, leastRoom: leastRoom == .max ? 0 : leastRoom)
  }
}
