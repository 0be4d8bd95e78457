import Kernels
import Memory
import Randomness

/// One layer of a long short-term memory that reads the rows in both directions; its output is both states side by side.
///
/// In each direction, with the gates `i`, `f`, `g`, `o` one after the other in `x Wiᵀ + bi + h Whᵀ + bh`:
/// `c = sigmoid(f) * c + sigmoid(i) * tanh(g)`, `h = sigmoid(o) * tanh(c)`. Laid out and named as PyTorch's `LSTM`.
///
/// Source: Hochreiter & Schmidhuber 1997, with forget gates of Gers et al. 2000.
struct RecurrentStage: EncoderStage {
  /// What one direction needs.
  private struct Direction {
    let input: Trainable  // [4 size, in]
    let state: Trainable  // [4 size, size]
    let inputBias: Trainable  // [4 size]
    let stateBias: Trainable
    let gates: Matrix  // [rows, 4 size]: after their activations; on the way back the gradients before them
    let cells: Matrix  // [rows, size]
    let isReversed: Bool
    let columns: Range<Int>  // of the output
  }

  private let directions: [Direction]
  private let size: Int
  private let rowGates: Matrix  // [1, 4 size]
  private let stateGradient: Matrix  // [1, size]
  private let cellGradient: Vector  // [size]

  /// The matrices of one layer in PyTorch's order.
  static func wishes(_ name: String, _ index: Int, in columns: Int, size: Int) -> [Trainables.Wish] {
    ["", "_reverse"].flatMap { direction -> [Trainables.Wish] in
      [
        .init("\(name).weight_ih_l\(index)\(direction)", rows: 4 * size, columns: columns),
        .init("\(name).weight_hh_l\(index)\(direction)", rows: 4 * size, columns: size),
        .init("\(name).bias_ih_l\(index)\(direction)", rows: 1, columns: 4 * size, isVector: true),
        .init("\(name).bias_hh_l\(index)\(direction)", rows: 1, columns: 4 * size, isVector: true),
      ]
    }
  }

  init(_ entries: [Trainable], rows: Int, in columns: Int, size: Int, isTrained: Bool, arena: Arena) {
    self.size = size
    directions = [false, true].map { isReversed in
      let first = isReversed ? 4 : 0
      return Direction(
        input: entries[first], state: entries[first + 1], inputBias: entries[first + 2], stateBias: entries[first + 3],
        gates: arena.matrix("gates of an encoder", kind: .adapter, rows: rows, columns: 4 * size),
        cells: arena.matrix("cells of an encoder", kind: .adapter, rows: rows, columns: size), isReversed: isReversed,
        columns: isReversed ? size..<2 * size : 0..<size)
    }
    rowGates = arena.matrix("gates of a row", kind: .adapter, rows: 1, columns: 4 * size)
    stateGradient = arena.matrix("gradient of a state", kind: .adapter, rows: isTrained ? 1 : 0, columns: size)
    cellGradient = arena.vector("gradient of cells", kind: .adapter, count: isTrained ? size : 0)
  }

  func initialize(_ generator: inout SplitMix64) {
    let bound = 1 / Float(size).squareRoot()
    for direction in directions {
      for part in [direction.input, direction.state, direction.inputBias, direction.stateBias] {
        part.matrix.fill { generator.uniform(in: -bound...bound) }
      }
    }
  }

  func forward(_ x: Matrix, into y: Matrix, pool: ThreadPool) {
    for direction in directions {
      let states = y.columns(direction.columns)
      ThinProduct.project(x, direction.input.matrix, into: direction.gates, pool: pool)
      VectorOperations.addBias(direction.inputBias.matrix.row(0), to: direction.gates, pool: pool)
      VectorOperations.addBias(direction.stateBias.matrix.row(0), to: direction.gates, pool: pool)
      var previous: Int?
      for row in order(x.rows, direction) {
        if let previous {
          ThinProduct.project(
            states.rows(previous..<previous + 1), direction.state.matrix, into: rowGates, pool: pool)
          VectorOperations.add(rowGates.row(0), scaledBy: 1, to: direction.gates.row(row))
        }
        step(
          gates: direction.gates.row(row), before: previous.map { direction.cells.row($0) },
          cells: direction.cells.row(row), state: states.row(row))
        previous = row
      }
    }
  }

  private func order(_ rows: Int, _ direction: Direction) -> [Int] {
    direction.isReversed ? (0..<rows).reversed() : Array(0..<rows)
  }

  private func step(gates: Vector, before: Vector?, cells: Vector, state: Vector) {
    gates.withMutableElements { gates in
      cells.withMutableElements { cells in
        state.withMutableElements { state in
          for index in 0..<size {
            let (i, f) = (sigmoid(gates[index]), sigmoid(gates[size + index]))
            let (g, o) = (hyperbolicTangent(gates[2 * size + index]), sigmoid(gates[3 * size + index]))
            let cell = f * (before?[index] ?? 0) + i * g
            (gates[index], gates[size + index], gates[2 * size + index], gates[3 * size + index]) = (i, f, g, o)
            cells[index] = cell
            state[index] = o * hyperbolicTangent(cell)
          }
        }
      }
    }
  }

  func backward(_ dy: Matrix, x: Matrix, y: Matrix, addingTo dx: Matrix, pool: ThreadPool) {
    for direction in directions {
      let (states, gates) = (y.columns(direction.columns), direction.gates)
      let gradients = dy.columns(direction.columns)
      VectorOperations.fill(stateGradient, with: 0)
      VectorOperations.fill(cellGradient, with: 0)
      let order = order(x.rows, direction)
      for (place, row) in order.enumerated().reversed() {
        VectorOperations.add(gradients.row(row), scaledBy: 1, to: stateGradient.row(0))
        stepBack(
          gates: gates.row(row), before: place > 0 ? direction.cells.row(order[place - 1]) : nil,
          cells: direction.cells.row(row))
        VectorOperations.fill(stateGradient, with: 0)
        LowRankTerm(p: gates.rows(row..<row + 1), w: direction.state.matrix).add(to: stateGradient, pool: pool)
      }
      // `gates` now holds the gradients of the sums.
      ThinProduct.weightGradient(gates, x, addingTo: direction.input.gradient, pool: pool)
      let (later, earlier) =
        direction.isReversed ? (0..<x.rows - 1, 1..<x.rows) : (1..<x.rows, 0..<x.rows - 1)
      if x.rows > 1 {
        ThinProduct.weightGradient(
          gates.rows(later), states.rows(earlier), addingTo: direction.state.gradient, pool: pool)
      }
      for bias in [direction.inputBias, direction.stateBias] {
        ColumnFactors.biasGradient(gates, addingTo: bias.gradient.row(0), pool: pool)
      }
      LowRankTerm(p: gates, w: direction.input.matrix).add(to: dx, pool: pool)
    }
  }

  /// On entry `stateGradient` is the gradient of the state and `cellGradient` what later rows add to that of the cells.
  private func stepBack(gates: Vector, before: Vector?, cells: Vector) {
    let dState = stateGradient.row(0).values
    let cells = cells.values
    gates.withMutableElements { gates in
      cellGradient.withMutableElements { dCells in
        for index in 0..<size {
          let (i, f) = (gates[index], gates[size + index])
          let (g, o) = (gates[2 * size + index], gates[3 * size + index])
          let squashed = hyperbolicTangent(cells[index])
          let dCell = dCells[index] + dState[index] * o * (1 - squashed * squashed)
          gates[index] = dCell * g * i * (1 - i)
          gates[size + index] = dCell * (before?[index] ?? 0) * f * (1 - f)
          gates[2 * size + index] = dCell * i * (1 - g * g)
          gates[3 * size + index] = dState[index] * squashed * o * (1 - o)
          dCells[index] = dCell * f
        }
      }
    }
  }
}
