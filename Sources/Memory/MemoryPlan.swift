/// What the planner counts separately, in the order in which it is printed.
public enum MemoryKind: String, Sendable, CaseIterable {
  case weights, adapter, gradients, optimizer, activations, recomputation, attention, head, panels, data, process
}

/// One line of a memory plan.
public struct PlannedBuffer: Sendable, Equatable {
  public let name: String
  public let kind: MemoryKind
  public let byteCount: Int

  public init(name: String, kind: MemoryKind, byteCount: Int) {
    self.name = name
    self.kind = kind
    self.byteCount = byteCount
  }
}

/// What a run will use, line by line: buffers of the arena, mapped weights and what the process holds besides.
public struct MemoryPlan: Sendable, Equatable {
  public var buffers: [PlannedBuffer]

  public init(buffers: [PlannedBuffer] = []) { self.buffers = buffers }

  /// Predicted peak of resident memory, in bytes.
  public var byteCount: Int { buffers.reduce(0) { ByteCount.sum($0, $1.byteCount) } }

  /// Bytes of each kind that occurs, in the fixed order of `MemoryKind`.
  public var byteCountByKind: [(kind: MemoryKind, byteCount: Int)] {
    MemoryKind.allCases.compactMap { kind in
      let sum = buffers.reduce(0) { $1.kind == kind ? ByteCount.sum($0, $1.byteCount) : $0 }
      return sum == 0 ? nil : (kind, sum)
    }
  }
}
