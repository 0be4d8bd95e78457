import Kernels
import Memory
import Testing
import Tuning

struct TrainablesTests {
  @Test func aTransposedMatrixIsReadAndWrittenInTheOrderOfItsFile() throws {
    let (arena, trainables) = try Arena.filled { arena in
      Trainables(
        [.init("plain", rows: 2, columns: 3), .init("transposed", rows: 2, columns: 3, isTransposed: true)],
        in: TuningRoom(arena: arena, trainingTokens: 1))
    }
    withExtendedLifetime(arena) {
      let (plain, transposed) = (trainables.entries[0], trainables.entries[1])
      #expect(plain.shape == [2, 3] && transposed.shape == [3, 2])
      plain.assign([1, 2, 3, 4, 5, 6])
      transposed.assign([1, 2, 3, 4, 5, 6])
      #expect(plain.matrix.row(1).values == [4, 5, 6])
      #expect(transposed.matrix.row(0).values == [1, 3, 5] && transposed.matrix.row(1).values == [2, 4, 6])
      #expect(plain.values == [1, 2, 3, 4, 5, 6] && transposed.values == [1, 2, 3, 4, 5, 6])
      // One vector holds all parameters, matrix by matrix.
      #expect(trainables.parameters.values == [1, 2, 3, 4, 5, 6, 1, 3, 5, 2, 4, 6])
      transposed.gradient.row(0).assign([7, 8, 9])
      #expect(trainables.gradients.values.suffix(6) == [7, 8, 9, 0, 0, 0])
      #expect(transposed.gradientValues == [7, 0, 8, 0, 9, 0])
    }
  }

  @Test func whatIsOnlyAppliedHasNoGradients() throws {
    let counting = Arena.counting
    let trainables = Trainables(
      [.init("a", rows: 4, columns: 8)], in: TuningRoom(arena: counting, trainingTokens: 0))
    #expect(trainables.gradients.count == 0 && trainables.parameters.count == 32)
    #expect(counting.byteCount == 4 * 8 * 4)
  }
}
